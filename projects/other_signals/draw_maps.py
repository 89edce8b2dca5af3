"""Draw the map that UniRepLKNet sees of each signal, for docs/modalities.md.

The signals are generated: a rising tone and an overtone of it, a shape that
moves, a torus, and two days of a temperature. Learned parts of a map (the
features of a point, the vector of an hour) are replaced by counts of points
and by vectors with random weights.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from mmrep.engine.cli import run
from mmrep.files import write_image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from projects.other_signals.audio.fbank import kaldi_fbank
from projects.other_signals.point_cloud.clouds import turn
from projects.other_signals.point_cloud.make_solids import torus
from projects.other_signals.point_cloud.projection import (
    cells,
    splat,
    view_rotations,
)
from projects.other_signals.time_series.forecaster import Embedding
from projects.other_signals.video.classifier import frames_to_map
from projects.other_signals.video.make_motions import make_video

SIZE = 256  # largest height of an enlarged picture


def audio_map() -> np.ndarray:
    """128 mel bins, the lowest at the bottom, by 128 frames of 10 ms."""
    rate = 16000
    t = np.arange(127 * 160 + 400) / rate
    phase = 2 * np.pi * np.cumsum(300 + 900 * t) / rate
    wave = 0.3 * np.sin(phase) + 0.1 * np.sin(3 * phase)
    wave += 0.003 * np.random.default_rng(0).standard_normal(len(t))
    return kaldi_fbank(wave, rate, 128).T[::-1]


def video_map() -> np.ndarray:
    """16 frames (32, 40) of a shape that moves to the right."""
    video = make_video('right', np.random.default_rng(1))[:16]
    clip = torch.from_numpy(video).permute(3, 0, 1, 2)
    frames = frames_to_map(clip[None], (4, 4), 'reshape')
    return frames[0].permute(1, 2, 0).numpy()


def cloud_map() -> np.ndarray:
    """Points in the cells of four views of a torus, side by side."""
    points = torus(np.random.default_rng(0), 4096) @ turn(0.6, -1.1).T
    views = torch.from_numpy(points).float() @ view_rotations(4).mT
    ones = torch.ones(4, len(points), 1)
    counts = splat(ones, cells(views, 224), 224)[:, 0]
    return np.hstack(counts.clamp(max=6))


def series_map() -> np.ndarray:
    """Vectors of 768 values of 48 hours, as a map of 192x192."""
    torch.manual_seed(0)
    hours = torch.arange(48.0)
    temperature = torch.sin(2 * torch.pi * (hours - 9) / 24)
    marks = torch.stack([hours % 24 / 23 - 0.5, *torch.zeros(3, 48)], 1)
    embedding = Embedding(1, 768, 4, None, 0.0)
    with torch.no_grad():
        vectors = embedding(temperature[None, None, :, None], marks[None])
    return vectors.reshape(192, 192).clamp(-2, 2).numpy()


def colour(values: np.ndarray) -> np.ndarray:
    """One channel in colours, from its smallest to its largest value."""
    values = (values - values.min()) / np.ptp(values)
    grey = (255 * values).round().astype(np.uint8)
    return cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', type=Path, help='folder of the pictures')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pictures = dict(
        audio=colour(audio_map()),
        video=video_map(),
        point_cloud=colour(cloud_map()),
        time_series=colour(series_map()),
    )
    for name, picture in pictures.items():
        factor = max(SIZE // len(picture), 1)
        picture = picture.repeat(factor, 0).repeat(factor, 1)
        write_image(args.out / f'{name}.png', picture)
    print(f'{len(pictures)} pictures are in {args.out}')


if __name__ == '__main__':
    run(main)
