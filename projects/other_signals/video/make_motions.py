"""Generate clips of moving shapes; the class is the motion.

A bright shape with random form, size and colour moves over a dark background;
what leaves at one side comes in at the other. Its position in a single frame
is uniform in every class, and every frame is compressed on its own, so only
several frames show the class.
"""

import argparse
import sys
from pathlib import Path
from typing import Callable, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from mmrep.engine.cli import run
from mmrep.files import new_folder
from mmrep_cli.arguments import positive, seed

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from projects.other_signals.media import write_video

HEIGHT, WIDTH, FRAMES = 32, 40, 24
SUBPIXEL = 4  # bits
Motion = Callable[[np.ndarray, np.random.Generator], Tuple]


def straight(x: int, y: int) -> Motion:
    """Motion with constant speed in one direction."""

    def motion(t: np.ndarray, rng: np.random.Generator) -> Tuple:
        distance = rng.uniform(4, 8) * t
        return x * distance, y * distance

    return motion


def round_about(sign: int) -> Motion:
    """Motion on a circle; 1 is clockwise."""

    def motion(t: np.ndarray, rng: np.random.Generator) -> Tuple:
        radius = rng.uniform(6, 10)
        angle = sign * 2 * np.pi * (t / rng.uniform(6, 10) + rng.random())
        return radius * np.cos(angle), radius * np.sin(angle)

    return motion


MOTIONS = {
    'anticlockwise': round_about(-1),
    'clockwise': round_about(1),
    'down': straight(0, 1),
    'left': straight(-1, 0),
    'right': straight(1, 0),
    'up': straight(0, -1),
}


def make_video(name: str, rng: np.random.Generator) -> np.ndarray:
    """Frames (FRAMES, HEIGHT, WIDTH, 3) of a motion, uint8."""
    coarse = rng.integers(0, 90, (4, 5, 3)).astype(np.uint8)
    back = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    colour = rng.integers(140, 256, size=3).tolist()
    corners = int(rng.choice([3, 4, 5, 24]))
    angles = rng.random() + np.arange(corners) / corners
    outline = rng.uniform(5, 8) * np.stack(
        [np.cos(2 * np.pi * angles), np.sin(2 * np.pi * angles)], 1
    )
    t = np.arange(FRAMES)
    x, y = MOTIONS[name](t, rng)
    x = (x + rng.uniform(0, WIDTH)) % WIDTH
    y = (y + rng.uniform(0, HEIGHT)) % HEIGHT
    frames = np.repeat(back[None], FRAMES, 0)
    for frame, place in zip(frames, np.stack([x, y], 1), strict=True):
        # the parts that left come in again
        for dx in (-WIDTH, 0, WIDTH):
            for dy in (-HEIGHT, 0, HEIGHT):
                points = (outline + place + (dx, dy)) * (1 << SUBPIXEL)
                cv2.fillPoly(
                    frame,
                    [points.round().astype(np.int32)],
                    colour,
                    cv2.LINE_AA,
                    SUBPIXEL,
                )
    return frames


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to make, e.g. data/motions')
    for split, count in (('train', 100), ('val', 15), ('test', 20)):
        parser.add_argument(
            f'--{split}',
            type=positive,
            default=count,
            help=f'videos of each class of the split ({count})',
        )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    splits = ('train', 'val', 'test')
    tasks = [
        (split, name, i)
        for split in splits
        for name in MOTIONS
        for i in range(getattr(args, split))
    ]
    with new_folder(args.out) as folder:
        for split in splits:
            for name in MOTIONS:
                (folder / split / name).mkdir(parents=True)
        for index, (split, name, i) in enumerate(tqdm(tasks)):
            rng = np.random.default_rng([args.seed, index])
            path = folder / split / name / f'{i:04d}.avi'
            write_video(path, make_video(name, rng))
    print(f'{len(tasks)} videos of {len(MOTIONS)} motions are in {args.out}')


if __name__ == '__main__':
    run(main)
