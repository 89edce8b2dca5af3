"""Convert ModelNet40's sampled surfaces to the clouds that configs read.

It reads either form of the data set: modelnet40_normal_resampled, with a text
file of 10,000 points for each object, or modelnet40_ply_hdf5_2048, with HDF5
files of 2,048 points (which needs h5py). Each cloud is written with its points
farthest first, so the first n are those that farthest point sampling of n
would choose, and with z upwards instead of y.
"""

import argparse
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
from tqdm import tqdm

from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line
from mmrep.files import new_folder, write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from projects.other_signals.point_cloud.cloud_files import (
    check_cloud,
    farthest_first,
    save_clouds,
)

# name, points (N, 3), class
Cloud = Tuple[str, np.ndarray, int]
# a neighbourhood
MIN_POINTS = 32


def read_lines(path: Path) -> List[str]:
    """The non-empty lines of a list."""
    try:
        return path.read_text('utf-8-sig').split()
    except (OSError, ValueError) as e:
        raise UsageError(f'cannot read the list {path}: {e}.') from e


def read_text_form(
    root: Path, split: str, classes: List[str]
) -> Iterator[Cloud]:
    """Clouds from CLASS/CLASS_0001.txt, with x,y,z,nx,ny,nz in each line."""
    for name in read_lines(root / f'modelnet40_{split}.txt'):
        kind = name.rpartition('_')[0]
        if kind not in classes:
            raise UsageError(
                f'{name} of modelnet40_{split}.txt must begin with one of '
                f'the {len(classes)} classes of modelnet40_shape_names.txt.'
            )
        path = root / kind / f'{name}.txt'
        try:
            rows = np.loadtxt(path, np.float32, delimiter=',', ndmin=2)
        except (OSError, ValueError) as e:
            raise UsageError(
                f'cannot read the points of {path}: {one_line(e)}.'
            ) from e
        if len(rows) and rows.shape[1] < 3:
            raise UsageError(
                f'{path} must hold x,y,z in each line, but holds '
                f'{rows.shape[1]} numbers.'
            )
        yield str(path), rows[:, :3], classes.index(kind)


def read_h5_form(
    root: Path, split: str, classes: List[str]
) -> Iterator[Cloud]:
    """Clouds of the files that SPLIT_files.txt lists."""
    try:
        import h5py
    except ImportError as e:
        raise UsageError('HDF5 files need a package: pip install h5py') from e
    for line in read_lines(root / f'{split}_files.txt'):
        # the lists name the authors' folder
        path = root / Path(line).name
        try:
            with h5py.File(path) as file:
                points, labels = file['data'][:], file['label'][:].ravel()
        except (OSError, KeyError, TypeError, ValueError) as e:
            raise UsageError(
                f'cannot read data and label of {path}: {one_line(e)}.'
            ) from e
        if (
            points.dtype.kind != 'f'
            or labels.dtype.kind not in 'iu'
            or points.shape != (len(labels), *points.shape[1:2], 3)
        ):
            raise UsageError(
                f'{path} must hold data (n, N, 3) and n whole numbers as '
                f'label, but holds {points.dtype} {points.shape} and '
                f'{labels.dtype} {labels.shape}.'
            )
        wrong = labels[(labels < 0) | (labels >= len(classes))]
        if len(wrong):
            raise UsageError(
                f'the labels of {path} must be below {len(classes)}, the '
                f'number of names in shape_names.txt, but one is {wrong[0]}.'
            )
        for i, (cloud, label) in enumerate(zip(points, labels, strict=True)):
            yield f'cloud {i} of {path}', cloud, int(label)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', type=Path, help='folder of the data set')
    parser.add_argument(
        'out', type=Path, help='folder to make, e.g. data/modelnet40'
    )
    parser.add_argument(
        '--points',
        type=int,
        default=4800,
        help='points to keep per cloud, if the files have as many (default: '
        '4800)',
    )
    args = parser.parse_args()
    if args.points < MIN_POINTS:
        parser.error(f'--points must be at least {MIN_POINTS}')
    text = (args.src / 'modelnet40_shape_names.txt').is_file()
    names = 'modelnet40_shape_names.txt' if text else 'shape_names.txt'
    classes = read_lines(args.src / names)
    with new_folder(args.out) as folder:
        write_text(folder / 'classes.txt', '\n'.join(classes) + '\n')
        count = None
        for split in ('train', 'test'):
            if text:
                clouds = read_text_form(args.src, split, classes)
            else:
                clouds = read_h5_form(args.src, split, classes)
            kept, labels = [], []
            for name, points, label in tqdm(clouds, split, unit='cloud'):
                if count is None:
                    count = max(min(args.points, len(points)), MIN_POINTS)
                check_cloud(points, name, count)
                # y upwards to z upwards
                points = points[:, [2, 0, 1]] * np.float32([-1, -1, 1])
                kept.append(farthest_first(points, count))
                labels.append(label)
            if not kept:
                raise UsageError(f'{args.src} must list clouds of {split}.')
            save_clouds(folder, split, kept, labels)
    print(f'clouds of {count} points, {len(classes)} classes: {args.out}')


if __name__ == '__main__':
    run(main)
