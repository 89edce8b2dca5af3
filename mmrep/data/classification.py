"""Data and metric of classifiers: image folders and accuracy."""

import os
import os.path as osp
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric

from mmrep.errors import UsageError
from mmrep.registry import DATASETS, METRICS, TRANSFORMS

_SUFFIXES = ('.jpeg', '.jpg', '.png')


@DATASETS.register_module()
class FolderDataset(BaseDataset):
    """A data set with a folder for each class, like the unpacked ImageNet.

    Classes are numbered in the order of the folder names; for ImageNet's
    WordNet ids this is the order of every released classifier. The names are
    ``metainfo['classes']``.

    Args:
        num_classes (int): Number of folders that there must be.
        **kwargs: Arguments of MMEngine's BaseDataset; ``data_prefix`` has
            the key ``img_path``.
    """

    def __init__(self, num_classes: int, **kwargs) -> None:
        self.num_classes = num_classes
        super().__init__(**kwargs)

    def load_data_list(self) -> List[dict]:
        """List the images and their classes.

        Raises:
            UsageError: If there are more or fewer classes, or no images.
        """
        root = self.data_prefix['img_path']
        folders = sorted(
            entry.name for entry in os.scandir(root) if entry.is_dir()
        )
        if len(folders) != self.num_classes:
            raise UsageError(
                f'{root} must hold a folder for each of {self.num_classes} '
                f'classes, but holds {len(folders)} folders.'
            )
        self._metainfo['classes'] = tuple(folders)
        images = [
            dict(img_path=osp.join(root, folder, name), gt_label=label)
            for label, folder in enumerate(folders)
            for name in sorted(os.listdir(osp.join(root, folder)))
            if name.lower().endswith(_SUFFIXES)
        ]
        if not images:
            raise UsageError(
                f'the folders in {root} must hold images '
                f'({", ".join(_SUFFIXES)}), but hold none.'
            )
        return images


@TRANSFORMS.register_module()
class PackClassification(BaseTransform):
    """Pack an image and its class for ImageClassifier."""

    def transform(self, results: dict) -> dict:
        """Pack an image (H, W, 3) as ``inputs`` (3, H, W) with its class."""
        image = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        return dict(
            inputs=torch.from_numpy(image), data_samples=results['gt_label']
        )


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """Share of images whose class is among the k highest scores, in percent.

    A class ranks after those with the same score, and last if its score is not
    finite, so a broken model scores 0.

    Args:
        topk (Sequence[int]): The values of k. Defaults to (1, 5).
        collect_device (str): Where processes exchange results. Defaults to
            'cpu'.
    """

    default_prefix = 'accuracy'

    def __init__(
        self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu'
    ) -> None:
        super().__init__(collect_device)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the rank of each image's class."""
        for sample in data_samples:
            scores, label = sample['scores'], sample['gt_label']
            score = scores[label]
            behind = (scores < score) & score.isfinite()
            self.results.append(len(scores) - 1 - int(behind.sum()))

    def compute_metrics(self, results: List[int]) -> Dict[str, float]:
        """Shares of ranks below each k."""
        ranks = np.array(results)
        return {f'top{k}': float(100 * (ranks < k).mean()) for k in self.topk}
