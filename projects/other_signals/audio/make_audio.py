"""Generate a data set of sound events as labelled spectrograms.

Each clip of two seconds has tones, sweeps, sirens, bands of noise and clicks
over a quiet background. Its spectrogram is a grey image, one row per
frequency (the lowest at the bottom) and one column per frame; the label map
says which event sounds in which time-frequency region. The clips are also
written as WAV files.
"""

import argparse
import sys
from pathlib import Path
from typing import Tuple

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from mmrep.engine.cli import run
from mmrep.files import new_folder, write_image
from mmrep_cli.arguments import positive, seed

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from projects.other_signals.media import write_audio

CLASSES = ('quiet', 'tone', 'sweep', 'siren', 'noise', 'clicks')
RATE = 8000  # samples per second
BINS, FRAMES = 128, 256
WINDOW, HOP = 2 * BINS, 64
SAMPLES = WINDOW + HOP * (FRAMES - 1)
FLOOR = -90  # dB that are black in the image
# dB below an event's loudest bin down to which a bin belongs to it, and the
# dB at which it must be anyway
DEPTH, AUDIBLE = 25, -62


def make_event(rng: np.random.Generator, name: str) -> np.ndarray:
    """A waveform of SAMPLES values, silent but for one event."""
    length = int(RATE * rng.uniform(0.3, 1.0))
    t = np.arange(length) / RATE
    span = t[-1]
    if name == 'noise':
        low = rng.uniform(300, 2500)
        high = low + rng.uniform(400, 1200)
        spectrum = np.fft.rfft(rng.standard_normal(length))
        frequency = np.fft.rfftfreq(length, 1 / RATE)
        spectrum[(frequency < low) | (frequency > high)] = 0
        event = np.fft.irfft(spectrum, length)
    elif name == 'clicks':
        event = np.zeros(length)
        period = int(RATE * rng.uniform(0.03, 0.08))
        event[::period] = 1
        # each click rings for about a millisecond
        event = np.convolve(event, rng.standard_normal(8))[:length]
    else:
        base = rng.uniform(300, 1200)
        if name == 'tone':
            pitch = np.full(length, base)
        elif name == 'sweep':
            pitch = np.linspace(base, base + rng.uniform(800, 2200), length)
            if rng.random() < 0.5:
                pitch = pitch[::-1]
        else:
            depth, speed = rng.uniform(150, 280), rng.uniform(3, 7)
            pitch = base + 300 + depth * np.sin(2 * np.pi * speed * t)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        # a tone has overtones
        count = int(rng.integers(2, 4)) if name == 'tone' else 1
        event = sum(np.sin(k * phase) / k for k in range(1, count + 1))
    ramp = np.minimum(1, np.minimum(t, span - t) / 0.02)
    event = event * ramp * rng.uniform(0.1, 0.5) / np.abs(event).max()
    clip = np.zeros(SAMPLES)
    start = int(rng.integers(0, SAMPLES - length))
    clip[start : start + length] = event
    return clip


def spectrogram(clip: np.ndarray) -> np.ndarray:
    """Level in dB of a clip, (BINS, FRAMES), low frequencies first."""
    frames = np.lib.stride_tricks.sliding_window_view(clip, WINDOW)[::HOP]
    window = np.hanning(WINDOW)
    spectrum = np.fft.rfft(frames * window)[:, :BINS] / window.sum()
    return 20 * np.log10(np.abs(spectrum).T + 1e-8)


def fill_region(name: str, region: np.ndarray) -> np.ndarray:
    """Close the gaps in noise and between clicks, widen lines by a bin."""
    region = region.astype(np.uint8)
    if name in ('noise', 'clicks'):
        closed = cv2.morphologyEx(
            region, cv2.MORPH_CLOSE, np.ones((15, 13), np.uint8)
        )
        return closed > 0
    return cv2.dilate(region, np.ones((3, 3), np.uint8)) > 0


def make_clip(
    rng: np.random.Generator,
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A waveform, its spectrogram and its labels, both (BINS, FRAMES)."""
    clip = rng.standard_normal(SAMPLES) * 10 ** rng.uniform(-3.2, -2.4)
    labels = np.zeros((BINS, FRAMES), np.uint8)
    loudest = np.full((BINS, FRAMES), -np.inf)
    for _ in range(rng.integers(2, 6)):
        index = int(rng.integers(1, len(CLASSES)))
        event = make_event(rng, CLASSES[index])
        clip = clip + event
        level = spectrogram(event)
        limit = max(level.max() - DEPTH, AUDIBLE)
        region = fill_region(CLASSES[index], level > limit)
        region &= level > loudest
        labels[region] = index
        loudest[region] = level[region]
    grey = (spectrogram(clip) - FLOOR) / -FLOOR * 255
    return clip, grey.clip(0, 255).astype(np.uint8)[::-1], labels[::-1]


def write_split(
    folder: Path, split: str, count: int, seed: Tuple[int, ...]
) -> None:
    """Write ``count`` clips, spectrograms and label maps of one split."""
    images, annotations, clips = (
        folder / kind / split for kind in ('images', 'annotations', 'clips')
    )
    for part in (images, annotations, clips):
        part.mkdir(parents=True)
    for i in track_iter_progress(range(count)):
        clip, image, labels = make_clip(np.random.default_rng([*seed, i]))
        name = f'audio_{split}_{i:05d}'
        write_image(images / f'{name}.png', image)
        write_image(annotations / f'{name}.png', labels)
        write_audio(clips / f'{name}.wav', clip, RATE)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to make, e.g. data/audio')
    parser.add_argument(
        '--train',
        type=positive,
        default=400,
        help='training clips (default: 400)',
    )
    parser.add_argument(
        '--val',
        type=positive,
        default=80,
        help='validation clips (default: 80)',
    )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with new_folder(args.out) as folder:
        for index, (split, count) in enumerate(
            (('training', args.train), ('validation', args.val))
        ):
            write_split(folder, split, count, (args.seed, index))
    print(
        f'{args.train} training and {args.val} validation clips of '
        f'{len(CLASSES)} classes are in {args.out}'
    )


if __name__ == '__main__':
    run(main)
