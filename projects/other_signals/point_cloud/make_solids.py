"""Generate point clouds of solids' surfaces, with noise, holes and turns.

There are ellipsoids, boxes, cylinders, cones, tori, pyramids, capsules and
prisms with random proportions. Points are spread evenly over the surface; up
to three holes are cut into it, noise is added, and the cloud is turned at
random, so no side is always up. Each cloud's points are written farthest
first.
"""

import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
from mmengine.utils import track_iter_progress

from mmrep.engine.cli import run
from mmrep.files import new_folder, write_text
from mmrep_cli.arguments import positive, seed

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from projects.other_signals.point_cloud.cloud_files import (
    farthest_first,
    save_clouds,
)

Random = np.random.Generator
NOISE = 0.02  # of the largest distance from the centre
HOLES, RADIUS = 3, (0.2, 0.4)


def mix(
    rng: Random, count: int, parts: List[Tuple[float, Callable]]
) -> np.ndarray:
    """Draw points on parts of a surface, in proportion to their areas.

    Args:
        rng (Generator): Source of randomness.
        count (int): Number of points.
        parts (list[tuple[float, Callable]]): The area of each part, and a
            function that returns n points on it, shape (n, 3).
    """
    areas = np.array([area for area, _ in parts])
    counts = rng.multinomial(count, areas / areas.sum())
    return np.concatenate(
        [part(n) for n, (_, part) in zip(counts, parts, strict=True)]
    )


def triangle(rng: Random, *corners: np.ndarray) -> Tuple[float, Callable]:
    """The area of a triangle, and points on it."""
    a, b, c = (np.asarray(corner, float) for corner in corners)
    area = np.linalg.norm(np.cross(b - a, c - a)) / 2

    def draw(n: int) -> np.ndarray:
        u, v = rng.random((2, n, 1))
        flip = u + v > 1
        u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
        return a + u * (b - a) + v * (c - a)

    return area, draw


def faces(rng: Random, corners: np.ndarray, count: int) -> np.ndarray:
    """Points on the hull of a base polygon and a top polygon.

    Args:
        rng (Generator): Source of randomness.
        corners (ndarray): Base and top polygon, (2, n, 3); the top of a
            pyramid is n times its apex.
        count (int): Number of points.
    """
    base, top = corners
    parts = []
    for i in range(len(base)):
        j = (i + 1) % len(base)
        parts.append(triangle(rng, base[i], base[j], top[j]))
        parts.append(triangle(rng, base[i], top[i], top[j]))
        parts.append(triangle(rng, base.mean(0), base[i], base[j]))
        parts.append(triangle(rng, top.mean(0), top[i], top[j]))
    return mix(rng, count, parts)


def ring(
    rng: Random, low: float, high: float, z: float
) -> Tuple[float, Callable]:
    """The flat ring between two radii at height z."""

    def draw(n: int) -> np.ndarray:
        radius = np.sqrt(rng.uniform(low**2, high**2, n))
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), np.full(n, z)], 1
        )

    return np.pi * (high**2 - low**2), draw


def wall(
    rng: Random, radius: float, top: float, height: float
) -> Tuple[float, Callable]:
    """The side of a cylinder or cone, from z = 0 to ``height``."""

    def draw(n: int) -> np.ndarray:
        # the density of the radius at z is proportional to the radius
        square = rng.uniform(top**2, radius**2, n)
        if top == radius:
            z = rng.uniform(0, height, n)
        else:
            z = height * (radius - np.sqrt(square)) / (radius - top)
        angle = rng.uniform(0, 2 * np.pi, n)
        r = np.sqrt(square)
        return np.stack([r * np.cos(angle), r * np.sin(angle), z], 1)

    slant = np.hypot(height, radius - top)
    return np.pi * (radius + top) * slant, draw


def sphere(rng: Random, count: int) -> np.ndarray:
    """Points of the unit sphere."""
    points = rng.standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def ellipsoid(rng: Random, count: int) -> np.ndarray:
    """Three half axes, each from 0.6 to 1."""
    axes = rng.uniform(0.6, 1, 3)
    points = sphere(rng, 4 * count)
    # the factor of a piece's area
    area = np.linalg.norm(points / axes, axis=1)
    kept = rng.random(len(area)) < area / area.max()
    return (points[kept] * axes)[:count]


def box(rng: Random, count: int) -> np.ndarray:
    """Three edges, each from 0.6 to 1."""
    a, b, c = rng.uniform(0.6, 1, 3)
    base = np.array([[0, 0, 0], [a, 0, 0], [a, b, 0], [0, b, 0]])
    return faces(rng, np.stack([base, base + [0, 0, c]]), count)


def cylinder(rng: Random, count: int) -> np.ndarray:
    """Height from 1 to 3 radii."""
    height = rng.uniform(1, 3)
    parts = [
        wall(rng, 1, 1, height),
        ring(rng, 0, 1, 0),
        ring(rng, 0, 1, height),
    ]
    return mix(rng, count, parts)


def cone(rng: Random, count: int) -> np.ndarray:
    """Height from 1 to 3 radii."""
    parts = [wall(rng, 1, 0, rng.uniform(1, 3)), ring(rng, 0, 1, 0)]
    return mix(rng, count, parts)


def torus(rng: Random, count: int) -> np.ndarray:
    """The tube's radius is from 0.25 to 0.5 of the ring's."""
    tube = rng.uniform(0.25, 0.5)
    u, v = rng.uniform(0, 2 * np.pi, (2, 4 * count))
    kept = rng.random(len(v)) < (1 + tube * np.cos(v)) / (1 + tube)
    u, v = u[kept][:count], v[kept][:count]
    radius = 1 + tube * np.cos(v)
    return np.stack(
        [radius * np.cos(u), radius * np.sin(u), tube * np.sin(v)], 1
    )


def pyramid(rng: Random, count: int) -> np.ndarray:
    """A square base, height from 0.7 to 1.5 of its edge."""
    base = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    apex = np.array([0.5, 0.5, rng.uniform(0.7, 1.5)])
    return faces(rng, np.stack([base, np.tile(apex, (4, 1))]), count)


def capsule(rng: Random, count: int) -> np.ndarray:
    """A cylinder between half spheres, its height from 1 to 3 radii."""
    height = rng.uniform(1, 3)

    def ends(n: int) -> np.ndarray:
        points = sphere(rng, n)
        points[:, 2] += np.where(points[:, 2] > 0, height, 0)
        return points

    return mix(rng, count, [wall(rng, 1, 1, height), (4 * np.pi, ends)])


def prism(rng: Random, count: int) -> np.ndarray:
    """Over an equilateral triangle, height from 0.7 to 2 of its edge."""
    base = np.array([[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    return faces(
        rng, np.stack([base, base + [0, 0, rng.uniform(0.7, 2)]]), count
    )


SOLIDS: Dict[str, Callable[[Random, int], np.ndarray]] = dict(
    ellipsoid=ellipsoid,
    box=box,
    cylinder=cylinder,
    cone=cone,
    torus=torus,
    pyramid=pyramid,
    capsule=capsule,
    prism=prism,
)


def make_cloud(rng: Random, kind: str, count: int) -> np.ndarray:
    """A cloud of a solid, its points farthest first, shape (count, 3)."""
    points = SOLIDS[kind](rng, 4 * count)
    points -= points.mean(0)
    points /= np.linalg.norm(points, axis=1).max()
    for _ in range(rng.integers(HOLES + 1)):
        middle = points[rng.integers(len(points))]
        away = np.linalg.norm(points - middle, axis=1) > rng.uniform(*RADIUS)
        if away.sum() >= 2 * count:
            points = points[away]
    points = farthest_first(points, count)
    points += rng.normal(0, NOISE, points.shape)
    turned, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    turned *= np.sign(np.diag(upper))
    turned[:, 0] *= np.linalg.det(turned)  # no mirror
    return points @ turned


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', type=Path, help='folder to make: data/solids')
    for split, count in (('train', 80), ('val', 10), ('test', 20)):
        parser.add_argument(
            f'--{split}',
            type=positive,
            default=count,
            help=f'clouds of each class in {split} ({count})',
        )
    parser.add_argument(
        '--points',
        type=int,
        default=320,
        help='points per cloud (default: 320)',
    )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    args = parser.parse_args()
    if args.points < 32:
        parser.error(f'--points must be 32 or more, got {args.points}')
    with new_folder(args.out) as folder:
        write_text(folder / 'classes.txt', '\n'.join(SOLIDS) + '\n')
        for number, split in enumerate(('train', 'val', 'test')):
            rng = np.random.default_rng((args.seed, number))
            kinds = list(SOLIDS) * vars(args)[split]
            clouds = [
                make_cloud(rng, kind, args.points)
                for kind in track_iter_progress(kinds)
            ]
            labels = [list(SOLIDS).index(kind) for kind in kinds]
            save_clouds(folder, split, clouds, labels)
    print(f'{len(SOLIDS)} classes of clouds are in {args.out}')


if __name__ == '__main__':
    run(main)
