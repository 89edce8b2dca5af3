"""Generate a small data set of shapes, for segmentors and for detectors.

Textured discs, rings, squares, triangles, crosses and stars cover one another
on a textured background. The hue hints at the class; where hues overlap, the
shape decides. Label maps have the layout of ADE20K;
annotations/instances_*.json hold the box and the mask of the visible part of
each shape, in COCO format.
"""

import argparse
import os
import os.path as osp
from typing import Any, Dict, List, Tuple

from mmrep_cli.arguments import parse_arguments, positive, seed


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to make, e.g. data/shapes')
    parser.add_argument(
        '--train',
        type=positive,
        default=400,
        help='training images (default: 400)',
    )
    parser.add_argument(
        '--val',
        type=positive,
        default=80,
        help='validation images (default: 80)',
    )
    parser.add_argument(
        '--size', type=int, default=128, help='width and height (default: 128)'
    )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    args = parse_arguments(parser)
    if args.size < 32:
        parser.error(f'--size must be 32 or more, got {args.size}')
    return args


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from mmrep.data.forms.shapes import encode_mask
from mmrep.engine.cli import run
from mmrep.files import new_folder, write_image, write_json

CLASSES = ('ground', 'disc', 'ring', 'square', 'triangle', 'cross', 'star')
# A shape with fewer visible pixels does not count as an instance.
MIN_AREA = 16


def make_colours(rng: np.random.Generator, index: int) -> np.ndarray:
    """Two colours (2, 3) for class ``index``; pale for the background."""
    if index == 0:
        hue, saturation = rng.uniform(0, 360), rng.uniform(0, 0.3)
    else:
        hue = 360 * index / (len(CLASSES) - 1) + rng.normal(0, 20)
        saturation = rng.uniform(0.5, 1)
    values = rng.permutation([rng.uniform(0.3, 0.6), rng.uniform(0.6, 1)])
    hsv = np.array([[(hue % 360, saturation, v) for v in values]], np.float32)
    return 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0]


def make_texture(
    rng: np.random.Generator, index: int, size: int
) -> np.ndarray:
    """Stripes, checks, blobs or a gradient for a class, (H, W, 3)."""
    first, second = make_colours(rng, index)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    period = rng.uniform(6, 20)
    kind = rng.integers(4)
    if kind == 0:
        mix = (along % period < period / 2).astype(np.float32)
    elif kind == 1:
        mix = (along // period + across // period) % 2
    elif kind == 2:
        noise = rng.standard_normal((size, size)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), period / 3)
        mix = (noise - noise.min()) / np.ptp(noise)
    else:
        mix = (along - along.min()) / np.ptp(along)
    mix = mix[..., None] * rng.uniform(0.3, 1)
    return first + (second - first) * mix


def make_outline(name: str, radius: float) -> np.ndarray:
    """Corners of a polygonal shape around the origin, (N, 2)."""

    def around(count: int) -> np.ndarray:
        angles = np.arange(count) * 2 * np.pi / count
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    if name == 'square':
        return radius * around(4)
    if name == 'triangle':
        return radius * around(3)
    if name == 'star':
        corners = around(10)
        corners[1::2] *= 0.42
        return radius * corners
    arm = radius * 0.33
    return np.array(
        [
            (arm, arm),
            (arm, radius),
            (-arm, radius),
            (-arm, arm),
            (-radius, arm),
            (-radius, -arm),
            (-arm, -arm),
            (-arm, -radius),
            (arm, -radius),
            (arm, -arm),
            (radius, -arm),
            (radius, arm),
        ]
    )


def make_mask(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    """One shape at a random place, size and angle, (H, W) of 0 and 1."""
    radius = rng.uniform(0.12, 0.24) * size
    centre = rng.uniform(0.1 * size, 0.9 * size, 2)
    return draw_shape(rng, name, centre, radius, size)


def draw_shape(
    rng: np.random.Generator,
    name: str,
    centre: np.ndarray,
    radius: float,
    size: int,
) -> np.ndarray:
    """One shape at a place and a random angle, (H, W) of 0 and 1."""
    mask = np.zeros((size, size), np.uint8)
    if name in ('disc', 'ring'):
        point = tuple(int(v) for v in centre)
        cv2.circle(mask, point, int(radius), 1, -1)
        if name == 'ring':
            cv2.circle(mask, point, int(radius * 0.55), 0, -1)
        return mask
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    corners = make_outline(name, radius) @ rotation.T + centre
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1)
    return mask


def make_image(
    rng: np.random.Generator, size: int
) -> Tuple[np.ndarray, np.ndarray, List[Tuple[int, np.ndarray]]]:
    """An image, its labels and its shapes.

    Returns:
        tuple: The image (H, W, 3), its labels (H, W) with 1 for CLASSES[0],
        and for each shape the index of its class and its visible mask (H, W).
    """
    image = make_texture(rng, 0, size)
    labels = np.ones((size, size), np.uint8)
    shapes: List[Tuple[int, np.ndarray]] = []
    for _ in range(rng.integers(3, 7)):
        index = int(rng.integers(1, len(CLASSES)))
        mask = make_mask(rng, CLASSES[index], size) > 0
        image[mask] = make_texture(rng, index, size)[mask]
        labels[mask] = index + 1
        shapes = [(other, below & ~mask) for other, below in shapes]
        shapes.append((index, mask))
    image += rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels, shapes


def make_annotation(index: int, mask: np.ndarray) -> Dict[str, Any]:
    """COCO entry for a shape, without its id and that of the image."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    return dict(
        category_id=index,
        bbox=[x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        area=int(mask.sum()),
        segmentation=encode_mask(mask),
        iscrowd=0,
    )


def write_split(
    folder: str, split: str, count: int, size: int, seed: Tuple[int, ...]
) -> None:
    """Write ``count`` images, label maps and instances of one split."""
    images: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for i in track_iter_progress(range(count)):
        rng = np.random.default_rng([*seed, i])
        image, labels, shapes = make_image(rng, size)
        name = f'shapes_{split}_{i:05d}'
        images.append(
            dict(id=i, file_name=f'{name}.jpg', width=size, height=size)
        )
        for index, mask in shapes:
            if mask.sum() < MIN_AREA:
                continue
            entry = make_annotation(index, mask)
            annotations.append(
                dict(id=len(annotations) + 1, image_id=i, **entry)
            )
        write_image(
            osp.join(folder, 'images', split, f'{name}.jpg'),
            image,
            [cv2.IMWRITE_JPEG_QUALITY, 95],
        )
        write_image(
            osp.join(folder, 'annotations', split, f'{name}.png'), labels
        )
    categories = [
        dict(id=i, name=name) for i, name in enumerate(CLASSES) if i > 0
    ]
    write_json(
        osp.join(folder, 'annotations', f'instances_{split}.json'),
        dict(images=images, annotations=annotations, categories=categories),
    )


def main() -> None:
    args = parse_args()
    with new_folder(args.out) as folder:
        splits: List[Tuple[str, int]] = [
            ('training', args.train),
            ('validation', args.val),
        ]
        for index, (split, count) in enumerate(splits):
            for kind in ('images', 'annotations'):
                os.makedirs(osp.join(folder, kind, split))
            write_split(folder, split, count, args.size, (args.seed, index))
    print(
        f'{args.train} training and {args.val} validation images of '
        f'{len(CLASSES)} classes are in {args.out}'
    )


if __name__ == '__main__':
    run(main)
