"""Generate images in which shape and texture show a class, or disagree.

Each of six classes has a shape (disc, ring, square, triangle, cross, star) and
a texture (stripes, checks, dots, waves, blobs, grain); place, size, angle and
colours are random and give no hint. In train/ and val/, with ImageNet's
layout, shape and texture belong to the same class. In cue_conflict/, with the
layout of Geirhos et al., square/square7-disc1.png is a square with the texture
of discs. As in their set, both cues of some images belong to the same class;
tools/analysis/shape_bias.py skips these.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Tuple

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from mmrep.engine.cli import run
from mmrep.files import new_folder, write_image
from mmrep_cli.arguments import positive, seed

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'tools/dataset_converters')
)
from make_shapes import CLASSES as SHAPES
from make_shapes import draw_shape

CLASSES = SHAPES[1:]  # without the background
TEXTURES = dict(
    zip(
        CLASSES,
        ('stripes', 'checks', 'dots', 'waves', 'blobs', 'grain'),
        strict=True,
    )
)


def make_pattern(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """A pattern at a random angle and scale, (H, W) from 0 to 1."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, size)
    across = y * np.cos(angle) - x * np.sin(angle) + rng.uniform(0, size)
    period = rng.uniform(0.1, 0.16) * size
    if name == 'stripes':
        return (along % period < period / 2).astype(np.float32)
    if name == 'checks':
        return (along // (period / 2) + across // (period / 2)) % 2
    if name == 'dots':
        off = [(value % period) / period - 0.5 for value in (along, across)]
        return (np.hypot(*off) < 0.35).astype(np.float32)
    if name == 'waves':
        bent = along + 0.4 * period * np.sin(2 * np.pi * across / period)
        return (bent % period < period / 2).astype(np.float32)
    if name == 'blobs':
        noise = rng.standard_normal((size, size)).astype(np.float32)
        return (cv2.GaussianBlur(noise, (0, 0), period / 4) > 0) * 1.0
    step = max(2, round(period / 4))
    cells = rng.random((size // step + 1, size // step + 1))
    return np.kron(cells, np.ones((step, step)))[:size, :size]


def make_mask(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """A shape at a random place, size and angle, (H, W) of 0 and 1."""
    radius = rng.uniform(0.28, 0.42) * size
    room = size / 2 - radius - 2
    centre = size / 2 + rng.uniform(-room, room, 2)
    return draw_shape(rng, name, centre, radius, size)


def make_colours(rng: np.random.Generator) -> np.ndarray:
    """Two colours of a pattern and one of the background, (3, 3).

    The two differ, and the background differs from their mean.
    """
    while True:
        colours = rng.uniform(0, 255, (3, 3))
        first, second, ground = colours
        if (
            60 < np.linalg.norm(first - second) < 180
            and np.linalg.norm((first + second) / 2 - ground) > 80
        ):
            return colours


def make_image(
    rng: np.random.Generator, shape: str, texture: str, size: int
) -> np.ndarray:
    """A class's shape with another's texture on a background, (H, W, 3)."""
    first, second, ground = make_colours(rng)
    pattern = make_pattern(rng, TEXTURES[texture], size)[..., None]
    image = np.broadcast_to(ground, (size, size, 3)).copy()
    mask = make_mask(rng, shape, size) > 0
    image[mask] = (first + (second - first) * pattern)[mask]
    image += rng.normal(0, 10, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def list_images(
    train: int, val: int, conflicts: int
) -> List[Tuple[str, str, str]]:
    """File without a suffix, shape and texture of every image."""
    images = []
    for split, count in (('train', train), ('val', val)):
        for name in CLASSES:
            for i in range(count):
                images.append((f'{split}/{name}/{name}{i:05d}', name, name))
    for shape in CLASSES:
        for i in range(conflicts):
            for j, texture in enumerate(CLASSES):
                number = i * len(CLASSES) + j + 1
                file = f'{shape}{number}-{texture}{i + 1}'
                images.append((f'cue_conflict/{shape}/{file}', shape, texture))
    return images


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to make, e.g. data/cue_conflict')
    parser.add_argument(
        '--train',
        type=positive,
        default=400,
        help='training images per class (default: 400)',
    )
    parser.add_argument(
        '--val',
        type=positive,
        default=50,
        help='validation images per class (default: 50)',
    )
    parser.add_argument(
        '--conflict',
        type=positive,
        default=10,
        help='images of each shape with each texture (default: 10)',
    )
    parser.add_argument(
        '--size', type=int, default=64, help='width and height (default: 64)'
    )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    args = parser.parse_args()
    if args.size < 32:
        parser.error(f'--size must be 32 or more, got {args.size}')
    return args


def main() -> None:
    args = parse_args()
    images = list_images(args.train, args.val, args.conflict)
    with new_folder(args.out) as folder:
        for i, (file, shape, texture) in enumerate(
            track_iter_progress(images)
        ):
            rng = np.random.default_rng([args.seed, i])
            path = folder / f'{file}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, make_image(rng, shape, texture, args.size))
    count = len(CLASSES)
    print(
        f'{count} classes of {args.train} training and {args.val} validation '
        f'images, and {count * count * args.conflict} cue-conflict images are '
        f'in {args.out}'
    )


if __name__ == '__main__':
    run(main)
