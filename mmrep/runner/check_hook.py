"""Check a model, its data and its metrics before a run."""

import logging
import traceback
from typing import Any, Iterator, List, Tuple

import cv2
from mmengine.dataset import Compose
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmrep.compat import repair_losses
from mmrep.data.datasets import check_order
from mmrep.data.heads import (
    check_dataset,
    check_input,
    check_levels,
    check_model,
)
from mmrep.data.images import built_datasets
from mmrep.data.samples import check_samples
from mmrep.errors import UsageError, one_line
from mmrep.models.tta import unwrapped
from mmrep.registry import HOOKS
from mmrep.runner.sampler import seeded


@HOOKS.register_module()
class SegmentationCheckHook(Hook):
    """Compare a segmentor with its data sets and metrics before a run.

    It also fixes losses (:func:`mmrep.compat.repair_losses`) and names the
    files that metrics write. Only the first of several processes reads files.
    For other models only the number of classes is compared, if model and data
    set have one, and the first sample is loaded.

    Args:
        skip_corrupt (bool): Whether training skips samples that cannot be
            loaded. Defaults to False.
    """

    def __init__(self, skip_corrupt: bool = False) -> None:
        self.skip_corrupt = skip_corrupt

    def before_run(self, runner: Runner) -> None:
        """Check what the run has built.

        Raises:
            UsageError: If something does not fit, in one line.
        """
        loops = list(_loops(runner))
        for key, loop, _ in loops[1:]:
            first = getattr(loops[0][1].dataloader.dataset, 'metainfo', None)
            check_order(key, loop.dataloader.dataset, loops[0][0], first)
        model = unwrapped(runner.model)
        check_levels(model)
        if not hasattr(model, 'decode_head'):
            for key, loop, _ in loops:
                _check_classes(key, model, loop.dataloader.dataset)
                if is_main_process():
                    _first_sample(key, model, loop.dataloader.dataset)
            return
        repair_losses(model)
        check_model(model)
        for key, loop, metrics in loops:
            dataset = loop.dataloader.dataset
            check_dataset(key, model, dataset, metrics)
            for metric in metrics:
                if hasattr(metric, 'name_files'):
                    metric.name_files(dataset)
            if not is_main_process():
                continue
            trains = key == 'train_dataloader'
            notes = check_samples(
                key, model, dataset, metrics, trains and self.skip_corrupt
            )
            for note in notes:
                runner.logger.warning(note)
            check_input(key, model, _first_sample(key, model, dataset))
            _check_drawing(runner, dataset)


def _loops(runner: Runner) -> Iterator[Tuple[str, BaseLoop, List[Any]]]:
    """The loops of a run, with their metrics."""
    for mode in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{mode}_loop')
        if isinstance(loop, BaseLoop):
            evaluator = getattr(loop, 'evaluator', None)
            metrics = getattr(evaluator, 'metrics', [])
            yield f'{mode}_dataloader', loop, metrics


def _check_classes(key: str, model: nn.Module, dataset: Any) -> None:
    """Raise an error if a classifier has another number of classes."""
    found = getattr(model, 'num_classes', None)
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if found is not None and classes and found != len(classes):
        raise UsageError(
            f'model.num_classes must be {len(classes)}, the number of classes '
            f'of {key}, got {found}.'
        )


def _check_drawing(runner: Runner, dataset: Any) -> None:
    """Raise an error if pictures to draw on cannot be shown."""
    if not any(
        type(hook).__name__ == 'SegVisualizationHook' and hook.draw
        for hook in runner.hooks
    ):
        return
    path = next(built_datasets(dataset)).get_data_info(0)['img_path']
    level = cv2.setLogLevel(0)  # it would print more than the error below
    shown = '://' in path or cv2.imread(path) is not None
    cv2.setLogLevel(level)
    if not shown:
        raise UsageError(
            'default_hooks.visualization draws on pictures with one or three '
            f'bands, but OpenCV cannot show {path}; set its draw=False and '
            'use tools/test.py --show-dir, which draws the first three bands.'
        )


def _first_sample(key: str, model: nn.Module, dataset: Any) -> Any:
    """The first sample, which OpenMMLab's models need packed."""
    try:
        with seeded(0):
            sample = dataset[0]
    except UsageError:
        raise
    except Exception as error:  # transforms fail in many ways
        print_log(traceback.format_exc(), 'current', logging.DEBUG)
        steps = [
            f', in {type(frame.f_locals["t"]).__name__}'
            for frame, _ in traceback.walk_tb(error.__traceback__)
            if frame.f_code is Compose.__call__.__code__
        ]
        raise UsageError(
            f'the pipeline of {key} fails on its first sample'
            f'{"".join(steps[-1:])}: {one_line(error, kind=True)} '
            '(log_level=DEBUG shows the traceback).'
        ) from error
    kind = type(getattr(model, 'data_preprocessor', None)).__module__
    known = kind.startswith(('mmdet.', 'mmrep.', 'mmseg.'))
    if known and isinstance(sample, dict) and 'inputs' not in sample:
        raise UsageError(
            f'the pipeline of {key} must end with a transform that packs the '
            'sample for the model, such as PackSegInputs or PackDetInputs: '
            "the sample has no 'inputs'."
        )
    return sample
