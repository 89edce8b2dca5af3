"""Pictures of a test's predictions."""

import os.path as osp
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import VISUALIZERS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmrep.apis.drawing import draw_detection, draw_segmentation
from mmrep.apis.pictures import PictureReader, check_targets
from mmrep.data.heads import input_channels
from mmrep.data.images import built_datasets
from mmrep.data.iou import output_names
from mmrep.deploy.models import model_kind
from mmrep.files import replaced, write_image
from mmrep.models.tta import unwrapped


def tested(cfg: Config, runner: Runner) -> Tuple[bool, PictureReader]:
    """Inputs of a hook that draws a test's predictions.

    Args:
        cfg (Config): Config of the test, whose pipeline reads the images.
        runner (Runner): The runner of the test.

    Returns:
        tuple: Whether the model segments, and what reads its pictures.

    Raises:
        UsageError: If the model is not a segmentor or detector.
    """
    model = unwrapped(runner.model)
    segments = model_kind(model) == 'segmentor'
    file = getattr(model, 'file', None)  # an exported one
    channels = file.channels if file else input_channels(model)
    return segments, PictureReader(cfg, channels)


class ShowHook(Hook):
    """Draw each prediction of a test, as :class:`mmrep.apis.Inferencer` does.

    The pictures have the folder structure of the images, as ``IMAGE.png``.

    Args:
        cfg (Config): Config of the test, whose pipeline reads the images.
        out_dir (str): Where the pictures go.
    """

    def __init__(self, cfg: Config, out_dir: str) -> None:
        self.cfg = cfg
        self.out_dir = out_dir

    def before_test(self, runner: Runner) -> None:
        """Name the pictures.

        Raises:
            UsageError: If one would replace a file of the data set, or the
                model is not a segmentor or detector.
        """
        self._segments, self._reader = tested(self.cfg, runner)
        dataset = runner.test_loop.dataloader.dataset
        self._meta: Dict[str, Any] = dict(dataset.metainfo)
        self._visualizer: Optional[Any] = None
        if not self._segments:
            self._meta.setdefault('palette', 'random')
            self._visualizer = VISUALIZERS.build(
                dict(type='mmdet.DetLocalVisualizer', name='mmrep.show')
            )
            self._visualizer.dataset_meta = self._meta
        names = output_names(dataset)
        self._targets = {
            osp.abspath(path): Path(self.out_dir, name)
            for path, name in names.items()
        }
        own = [*names, *_label_maps(dataset)]
        check_targets(self._targets.values(), own, '--show-dir')

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[BaseDataElement]] = None,
    ) -> None:
        """Draw a batch."""
        for sample in outputs or ():
            pixels = self._reader.shown(sample.img_path)
            if self._segments:
                labels = sample.pred_sem_seg.data.cpu().long().numpy()
                # the test-time augmentation gives (H, W)
                picture = draw_segmentation(
                    pixels, labels.reshape(labels.shape[-2:]), self._meta
                )
            else:
                picture = draw_detection(pixels, sample, self._visualizer)
            target = self._targets[osp.abspath(sample.img_path)]
            with replaced(target) as path:
                write_image(path, picture)


def _label_maps(dataset: Any) -> Iterator[str]:
    for part in built_datasets(dataset):
        for i in range(len(part)):
            path = part.get_data_info(i).get('seg_map_path')
            if path:
                yield path
