"""Write the published arrays of stations worldwide without Python objects.

Corrformer's data set (https://codeocean.com/capsule/0341365/tree/v1) has, for
each split, a .npy file of values and one of times, and one of the stations'
places. NumPy saved some of them as pickles, and reading a pickle can run any
code in it. So do this only once, with files whose source you trust, and train
on the files that it writes.
"""

import argparse
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress

from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line
from mmrep.files import new_folder


def convert(src: Path, out: Path) -> None:
    """Write one array as float32 or times."""
    try:
        array = np.load(src, allow_pickle=True)
    except Exception as e:  # a pickle may raise anything
        raise UsageError(
            f'cannot read {src}: {one_line(e, kind=True)}.'
        ) from e
    kind = 'datetime64[s]' if 'time' in src.stem else np.float32
    try:
        array = array.astype(kind)
    except (TypeError, ValueError) as e:
        raise UsageError(
            f'{src} must hold numbers, or times if its name says so: '
            f'{one_line(e)}.'
        ) from e
    np.save(out, array)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'src', type=Path, help='folder of .npy files, e.g. global_temp/'
    )
    parser.add_argument(
        'out', type=Path, help='folder to make, e.g. data/global_temp'
    )
    parser.add_argument(
        '--trust-pickles',
        action='store_true',
        required=True,
        help='confirm that you trust the source of these files, which may '
        'run code',
    )
    args = parser.parse_args()
    paths = sorted(args.src.glob('*.npy'))
    if not paths:
        raise UsageError(f'{args.src} must hold .npy files, but holds none.')
    with new_folder(args.out) as folder:
        for path in track_iter_progress(paths):
            convert(path, folder / path.name)
    print(f'{len(paths)} arrays are in {args.out}')


if __name__ == '__main__':
    run(main)
