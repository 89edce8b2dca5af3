"""Checks of point clouds, and the files for training.

They are a folder with, for each split, ``SPLIT_points.npy``, float32 (clouds,
N, 3) with z upwards and the points of each cloud farthest first, and
``SPLIT_labels.npy``, int64 (clouds,); and ``classes.txt``, with one name per
line.
"""

from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np

from mmrep.errors import UsageError, one_line


def check_cloud(points: np.ndarray, name: str, count: int) -> None:
    """Check a cloud; errors have one line.

    Args:
        points (ndarray): Shape (N, 3).
        name (str): Name of the cloud.
        count (int): Minimum number of points.

    Raises:
        UsageError: If points are missing, are not finite, or are all in one
            place.
    """
    if len(points) < count:
        raise UsageError(
            f'{name} must have {count} points, but has {len(points)}.'
        )
    bad = int((~np.isfinite(points)).any(1).sum())
    if bad:
        raise UsageError(
            f'{name} must have finite coordinates, but {bad} of its '
            f'{len(points)} points do not.'
        )
    if not np.ptp(points, axis=0).any():
        raise UsageError(f'{name} must have points in more than one place.')


def farthest_first(points: np.ndarray, count: int) -> np.ndarray:
    """Choose points, each as far as possible from all chosen before it.

    Args:
        points (ndarray): Shape (N, 3); the first is chosen first.
        count (int): How many to choose, at most N.

    Returns:
        ndarray: Shape (count, 3). Its first n points are those that a count of
            n would choose.
    """
    chosen = np.zeros(count, int)
    distance = np.full(len(points), np.inf)
    columns = np.ascontiguousarray(points.T)
    for i in range(1, count):
        new = sum((c - c[chosen[i - 1]]) ** 2 for c in columns)
        np.minimum(distance, new, out=distance)
        chosen[i] = distance.argmax()
    return points[chosen]


def save_clouds(
    folder: Path,
    split: str,
    points: Sequence[np.ndarray],
    labels: Sequence[int],
) -> None:
    """Write a split."""
    np.save(folder / f'{split}_points.npy', np.array(points, np.float32))
    np.save(folder / f'{split}_labels.npy', np.array(labels, np.int64))


def load_clouds(
    folder: Path, split: str
) -> Tuple[np.ndarray, np.ndarray, List[str]]:
    """Read classes and points, which stay on disk until they are used.

    Raises:
        UsageError: If a file is missing or wrong.
    """
    path = folder / f'{split}_points.npy'
    try:
        points = np.load(path, mmap_mode='r', allow_pickle=False)
        labels = np.load(folder / f'{split}_labels.npy', allow_pickle=False)
        classes = (folder / 'classes.txt').read_text('utf-8').split('\n')
    except (EOFError, OSError, ValueError) as e:
        raise UsageError(
            f'cannot read the clouds of {folder}: {one_line(e)}. '
            'make_solids.py and prepare_modelnet.py write such a folder.'
        ) from e
    classes = [name for name in classes if name]
    for array, kinds in ((points, 'fiu'), (labels, 'iu')):
        dtype = getattr(array, 'dtype', None)  # a .npz file has none
        if dtype is None or dtype.kind not in kinds:
            raise UsageError(
                f'{folder} must hold numbers as points of {split} and whole '
                f'numbers as labels, but holds {dtype or "a .npz file"}.'
            )
    if points.ndim != 3 or points.shape[2] != 3 or not len(points):
        raise UsageError(
            f'{path} must hold clouds (n, N, 3), but holds {points.shape}.'
        )
    if labels.shape != (len(points),):
        raise UsageError(
            f'{folder} must hold a label for each of {len(points)} clouds of '
            f'{split}, but holds labels {labels.shape}.'
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UsageError(
            f'the labels of {split} in {folder} must be below '
            f'{len(classes)}, the number of classes, but go from '
            f'{labels.min()} to {labels.max()}.'
        )
    return points, labels, classes
