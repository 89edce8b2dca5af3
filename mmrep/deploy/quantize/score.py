"""The score of a model on the validation set of a config."""

import contextlib
import copy
import io
import logging
from typing import Any, Callable, Dict, Iterable, Iterator

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmrep.data.images import guard_loading
from mmrep.engine.launch import prepare_metrics
from mmrep.errors import UsageError, one_line

# The scores that count, with their factors to points from 0 to 100.
METRICS = {'mIoU': 1, 'coco/bbox_mAP': 100, 'coco/segm_mAP': 100}
# Wraps an iterable, with a description and a length, to show its progress.
Track = Callable[[Iterable, str, int], Iterable]


def silent(values: Iterable, text: str, total: int) -> Iterable:
    """A :data:`Track` that shows nothing."""
    return values


def validation(cfg: Config) -> str:
    """The set of a config on which scores are measured."""
    return 'val' if cfg.get('val_dataloader') else 'test'


def score(
    cfg: Config, model: nn.Module, text: str, track: Track = silent
) -> Dict[str, float]:
    """Points of a model on the validation set, else on the test set.

    Args:
        cfg (Config): Config with the set and its evaluator.
        model (nn.Module): A segmentor or detector, or what replaces one.
        text (str): Description of the progress.
        track (Callable): Shows progress. By default nothing is shown.

    Returns:
        dict[str, float]: The available :data:`METRICS`, in percent.

    Raises:
        UsageError: If the set cannot be read, or has none of them.
    """
    mode = validation(cfg)
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    try:
        loader = Runner.build_dataloader(
            copy.deepcopy(cfg[f'{mode}_dataloader'])
        )
        with _quiet():
            evaluator = Evaluator(copy.deepcopy(cfg[f'{mode}_evaluator']))
    except UsageError:
        raise
    except Exception as error:  # each data set and metric fails differently
        raise UsageError(
            f'{mode}_dataloader and {mode}_evaluator, which measure the '
            f'score, cannot be built: {one_line(error, kind=True)}'
        ) from error
    guard_loading(loader.dataset)
    prepare_metrics(evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in track(loader, text, len(loader)):
            evaluator.process(model.test_step(batch), batch)
    with _quiet():
        found = evaluator.evaluate(len(loader.dataset))
    points = {
        name: float(found[name]) * scale
        for name, scale in METRICS.items()
        if name in found
    }
    if not points:
        raise UsageError(
            f'{mode}_evaluator must give one of {", ".join(METRICS)}, got '
            f'{", ".join(found) or "nothing"}.'
        )
    return points


def drop(before: Dict[str, float], after: Dict[str, float]) -> float:
    """The largest loss of points."""
    return max(before[name] - after[name] for name in before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the output of metrics to log and terminal."""
    logger: Any = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            yield
    finally:
        logger.setLevel(level)
