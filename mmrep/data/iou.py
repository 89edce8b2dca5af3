"""MMSegmentation's IoUMetric, with a file for every prediction."""

import os.path as osp
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
from mmseg.evaluation import IoUMetric as _IoUMetric
from PIL import Image

from mmrep.data.images import built_datasets
from mmrep.files import replaced
from mmrep.registry import METRICS, check_keywords


def output_names(dataset: Any) -> Dict[str, str]:
    """A file name for the prediction of each image of a data set.

    Names are relative to the folder of the images, or, if several data sets
    are joined or one lists images elsewhere, to the folder that holds all.
    Images that differ only in the suffix keep it.

    Args:
        dataset (Dataset): MMSegmentation's or MMDetection's data set, or a
            wrapper of one.

    Returns:
        dict: From the path of an image to a name such as ``a/b.png``.
    """
    paths: List[str] = []
    roots: List[str] = []
    for part in built_datasets(dataset):
        own = [part.get_data_info(i)['img_path'] for i in range(len(part))]
        prefixes = getattr(part, 'data_prefix', None) or {}
        prefix = prefixes.get('img_path') or prefixes.get('img')
        roots += [prefix] if prefix else []
        roots += {osp.dirname(path) for path in own}
        paths += own
    base = osp.commonpath([osp.abspath(root) for root in roots])
    names = {
        path: osp.relpath(osp.abspath(path), base)
        for path in dict.fromkeys(paths)
    }
    stems = Counter(osp.splitext(name)[0] for name in names.values())
    for path, name in names.items():
        stem = osp.splitext(name)[0]
        names[path] = f'{stem if stems[stem] == 1 else name}.png'
    return names


@METRICS.register_module()
class IoUMetric(_IoUMetric):
    """MMSegmentation's IoUMetric that writes every prediction.

    Its label maps have the folder structure of the images below
    ``output_dir``, whereas MMSegmentation's overwrite each other if images in
    several folders have the same name. With more than 256 labels they have 16
    bits, whereas MMSegmentation's labels above 255 wrap around. Arguments are
    MMSegmentation's; others
    are refused, whereas MMSegmentation's ignores them.
    """

    def __init__(self, *args, **kwargs) -> None:
        check_keywords(_IoUMetric, kwargs)
        super().__init__(*args, **kwargs)
        self._names: Dict[str, str] = {}

    def name_files(self, dataset: Any) -> None:
        """Name the files after the images of a data set."""
        if self.output_dir is not None:
            self._names = output_names(dataset)

    def evaluate(self, size: int) -> Dict[str, float]:
        """Scores of all images, or none with ``format_only``."""
        return {} if self.format_only else super().evaluate(size)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Measure a batch, and write its predictions if requested."""
        output_dir, self.output_dir = self.output_dir, None
        try:
            super().process(data_batch, data_samples)
        finally:
            self.output_dir = output_dir
        if output_dir is None:
            return
        for sample in data_samples:
            path = sample['img_path']
            name = self._names.get(path, f'{Path(path).stem}.png')
            target = Path(output_dir, name)
            labels = sample['pred_sem_seg']['data'].squeeze().cpu().numpy()
            # as in the data set's own files
            shift = int(bool(sample.get('reduce_zero_label', False)))
            wide = len(self.dataset_meta['classes']) + shift > 256
            labels = (labels + shift).astype(np.uint16 if wide else np.uint8)
            with replaced(target) as partial:
                Image.fromarray(labels).save(partial)
