"""Clouds for training and test, and the accuracy of their classes.

The turns and scales are those of the authors' training and test. Source:
Point/tool/train_adaptor_lkv.py of AILab-CVC/UniRepLKNet@b5677d8.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.evaluator import BaseMetric
from torch.utils.data import Dataset

from mmrep.errors import UsageError
from mmrep.registry import DATASETS, METRICS, TRANSFORMS

from .cloud_files import check_cloud, load_clouds


@DATASETS.register_module()
class PointCloudDataset(Dataset):
    """Clouds and their classes, from the files that cloud_files.py describes.

    Args:
        data_root (str): The folder.
        split (str): 'train', 'val' or 'test'.
        pipeline (Sequence[dict]): Configs of transforms, which get
            ``points`` (N, 3), ``gt_label`` and ``repeat``.
        repeats (int): How often each cloud appears; ``repeat`` counts from 0,
            so a transform can turn it differently each time. Defaults to 1.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: Sequence[dict],
        repeats: int = 1,
    ) -> None:
        self.name = f'{split} of {data_root}'
        self.repeats = repeats
        self.points, self.labels, classes = load_clouds(Path(data_root), split)
        self.metainfo = dict(classes=tuple(classes))
        self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        return len(self.points) * self.repeats

    def __getitem__(self, index: int) -> dict:
        """Inputs and class of a cloud, as the pipeline packs them."""
        cloud, repeat = divmod(index, self.repeats)
        points = np.array(self.points[cloud], np.float32)
        check_cloud(points, f'cloud {cloud} of {self.name}', 1)
        label = int(self.labels[cloud])
        return self.pipeline(
            dict(points=points, gt_label=label, repeat=repeat)
        )


@TRANSFORMS.register_module()
class NormalizePoints(BaseTransform):
    """Move the mean of the points to 0, and the outermost to distance 1."""

    def transform(self, results: dict) -> dict:
        """Change ``points``."""
        # in double precision, in which squares have more room
        points = results['points'].astype(np.float64)
        points -= points.mean(0)
        points /= np.sqrt((points**2).sum(1).max())
        results['points'] = points.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class SamplePoints(BaseTransform):
    """Keep some of the points.

    Args:
        count (int): How many.
        among (int, optional): Draw them at random among this many of the
            first, or among all if there are fewer. Defaults to None, the first
            ``count``.
    """

    def __init__(self, count: int, among: Optional[int] = None) -> None:
        self.count = count
        self.among = among

    def transform(self, results: dict) -> dict:
        """Change ``points``.

        Raises:
            UsageError: If there are too few.
        """
        points = results['points'][: self.among]
        if len(points) < self.count:
            raise UsageError(
                f'a cloud must have the {self.count} points that SamplePoints '
                f'takes, but has {len(points)}.'
            )
        if self.among is not None:
            points = points[np.random.permutation(len(points))]
        results['points'] = points[: self.count]
        return results


@TRANSFORMS.register_module()
class TurnPoints(BaseTransform):
    """Turn the projected points about z, then tilt them.

    The views show ``turned``; ``points``, from which features are computed, do
    not change.

    Args:
        azimuths (Sequence[float]): Angles about z, in units of pi: the limits
            if ``random``, else one for each ``repeat`` of the data set.
        tilts (Sequence[float]): Angles of the tilt, likewise.
        random (bool): Draw between limits. Defaults to False.
    """

    def __init__(
        self,
        azimuths: Sequence[float],
        tilts: Sequence[float],
        random: bool = False,
    ) -> None:
        if len(azimuths) != len(tilts) or (random and len(tilts) != 2):
            raise ValueError(
                'azimuths and tilts must have the same length, and two '
                f'limits if random, got {azimuths} and {tilts}.'
            )
        self.azimuths = azimuths
        self.tilts = tilts
        self.random = random

    def transform(self, results: dict) -> dict:
        """Add ``turned``."""
        if self.random:
            limits = np.stack([self.azimuths, self.tilts], 1)
            angles = np.random.uniform(*limits)
        else:
            i = results['repeat']
            angles = self.azimuths[i], self.tilts[i]
        matrix = turn(*(np.pi * angle for angle in angles))
        results['turned'] = results['points'] @ matrix.T.astype(np.float32)
        return results


def turn(azimuth: float, tilt: float) -> np.ndarray:
    """The published turn, a matrix (3, 3); angles in radians.

    By -tilt about (sin(azimuth), -cos(azimuth), 0), then by -azimuth about z.
    """
    s, c = np.sin(azimuth), np.cos(azimuth)
    about_z = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    axis = np.array([s, -c, 0])
    cross = np.cross(np.eye(3), axis)  # cross @ v is axis x v
    outer = np.outer(axis, axis)
    tilted = np.cos(tilt) * (np.eye(3) - outer) + outer - np.sin(tilt) * cross
    return about_z @ tilted


@TRANSFORMS.register_module()
class ScaleTurned(BaseTransform):
    """Scale each axis of ``turned`` by its own factor.

    The published shift is omitted, because a projection begins where the cloud
    does.

    Args:
        limits (tuple[float, float]): Smallest and largest factor. Defaults to
            (2 / 3, 3 / 2).
    """

    def __init__(self, limits: Tuple[float, float] = (2 / 3, 3 / 2)) -> None:
        self.limits = limits

    def transform(self, results: dict) -> dict:
        """Change ``turned``."""
        factors = np.random.uniform(*self.limits, 3).astype(np.float32)
        results['turned'] = results['turned'] * factors
        return results


@TRANSFORMS.register_module()
class PackPoints(BaseTransform):
    """Pack ``points``, ``turned`` and the class for the classifier."""

    def transform(self, results: dict) -> dict:
        """Two (N, 3) tensors as ``inputs``, and ``gt_label``."""
        return dict(
            inputs={
                key: torch.from_numpy(np.ascontiguousarray(results[key]))
                for key in ('points', 'turned')
            },
            data_samples=dict(gt_label=results['gt_label']),
        )


@METRICS.register_module()
class CloudAccuracy(BaseMetric):
    """Overall accuracy (OA) and the mean over classes (mAcc), in percent.

    A cloud that appears several times counts each time, as published.

    Args:
        collect_device (str): Where processes exchange results. Defaults to
            'cpu'.
    """

    def __init__(self, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each cloud's class, and whether the prediction is correct."""
        for sample in data_samples:
            scores, label = sample['scores'], sample['gt_label']
            found = scores.isfinite().all() and int(scores.argmax()) == label
            self.results.append((label, bool(found)))

    def compute_metrics(
        self, results: List[Tuple[int, bool]]
    ) -> Dict[str, float]:
        """OA and mAcc, over the classes that occur."""
        labels, found = np.array(results).T
        recalls = [found[labels == c].mean() for c in np.unique(labels)]
        return dict(
            OA=100 * float(found.mean()), mAcc=100 * float(np.mean(recalls))
        )
