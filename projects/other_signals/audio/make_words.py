"""Let espeak-ng speak the 35 words of Speech Commands in many voices.

The folder has the layout of Speech Commands V2: clips of one second at 16 kHz
in a folder for each word, validation_list.txt and testing_list.txt. A voice is
one of espeak-ng's variants with an English accent; speed, pitch, loudness and
background noise are random for each clip. Variants whose names differ only in
a number stay together, and none of them is in two splits.
"""

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import new_folder
from mmrep_cli.arguments import positive, seed

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from projects.other_signals.media import write_audio

WORDS = (
    'backward bed bird cat dog down eight five follow forward four go happy '
    'house learn left marvin nine no off on one right seven sheila six stop '
    'three tree two up visual wow yes zero'
).split()
ACCENTS = (
    'en-us', 'en-gb', 'en-gb-scotland', 'en-gb-x-rp', 'en-gb-x-gbclan',
    'en-gb-x-gbcwmd', 'en-029',
)  # fmt: skip
RATE, ESPEAK_RATE = 16000, 22050
HEADER = 44  # bytes before the samples in espeak-ng's output
# shares of the families of variants, and the lists that name their clips
SPLITS = dict(train=0.6, val=0.15, test=0.25)
LISTS = dict(val='validation_list.txt', test='testing_list.txt')


def espeak(*arguments: str) -> bytes:
    """The standard output of espeak-ng."""
    try:
        done = subprocess.run(
            ['espeak-ng', *arguments], capture_output=True, check=True
        )
    except FileNotFoundError as e:
        raise UsageError(
            'the words are spoken by espeak-ng, which is not installed: '
            'apt-get install espeak-ng'
        ) from e
    except subprocess.CalledProcessError as e:
        text = e.stderr.decode(errors='replace').strip()
        raise UsageError(f'espeak-ng fails: {text}.') from e
    return done.stdout


def split_variants(rng: np.random.Generator) -> Dict[str, List[str]]:
    """The variants of each split; families are not divided."""
    listing = espeak('--voices=variant').decode()
    families: Dict[str, List[str]] = {}
    for name in sorted(re.findall(r'!v/(\S+)', listing)):
        family = re.sub(r'(Robot|\d+)$', '', name)
        families.setdefault(family, []).append(name)
    order = rng.permutation(sorted(families))
    ends = np.cumsum(list(SPLITS.values())) * len(order)
    parts = np.split(order, ends.round().astype(int)[:-1])
    return {
        split: [name for family in part for name in families[family]]
        for split, part in zip(SPLITS, parts, strict=True)
    }


def make_noise(rng: np.random.Generator) -> np.ndarray:
    """A second of noise between white and brown, of level 1."""
    spectrum = np.fft.rfft(rng.standard_normal(RATE))
    frequency = np.fft.rfftfreq(RATE, 1 / RATE).clip(20)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1), RATE)
    return noise / noise.std()


def speak(word: str, voice: str, rng: np.random.Generator) -> np.ndarray:
    """A second of a word somewhere in noise, (RATE, ), -1 to 1."""
    spoken = espeak(
        '--stdout', '-v', voice, '-s', str(rng.integers(120, 221)),
        '-p', str(rng.integers(20, 81)), word,
    )  # fmt: skip
    samples = np.frombuffer(spoken[HEADER:], '<i2') / 32768
    samples = resample_poly(samples, RATE, ESPEAK_RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    if not len(loud):
        raise UsageError(
            f'espeak-ng produces no sound for {word!r} in {voice}.'
        )
    samples = samples[loud[0] : loud[-1] + 1][:RATE]
    begin = rng.integers(0, RATE - len(samples) + 1)
    clip = np.zeros(RATE)
    clip[begin : begin + len(samples)] = samples / samples.std()
    level = 10 ** (-rng.uniform(5, 30) / 20)  # 5 to 30 dB below the word
    clip = clip + level * make_noise(rng)
    return clip / np.abs(clip).max() * rng.uniform(0.1, 0.9)


def write_words(
    folder: Path, words: List[str], voices: Dict[str, int], seed: tuple
) -> Dict[str, int]:
    """Write the clips and the lists.

    Args:
        folder (Path): Target folder.
        words (list[str]): The words to speak.
        voices (dict[str, int]): Number of voices of each split.
        seed (tuple): Seed of everything random.

    Returns:
        dict[str, int]: Number of clips of each split.
    """
    variants = split_variants(np.random.default_rng(seed))
    tasks: List[Tuple[Path, str, str]] = []
    counts = {}
    for split, names in variants.items():
        clips = []
        for i in range(voices[split]):
            name, turn = names[i % len(names)], i // len(names)
            # a variant that is used again gets another accent
            first = names.index(name)
            accent = ACCENTS[(first + turn) % len(ACCENTS)]
            speaker = f'{name.lower()}-{accent}_nohash_{turn // len(ACCENTS)}'
            for word in words:
                clip = f'{word}/{speaker}.wav'
                tasks.append((folder / clip, word, f'{accent}+{name}'))
                clips.append(clip)
        counts[split] = len(clips)
        if split in LISTS:
            (folder / LISTS[split]).write_text('\n'.join(clips) + '\n')
    for word in words:
        (folder / word).mkdir()

    def write(index: int) -> None:
        path, word, voice = tasks[index]
        rng = np.random.default_rng([*seed, index])
        write_audio(path, speak(word, voice, rng), RATE)

    with ThreadPoolExecutor() as pool:
        try:
            list(tqdm(pool.map(write, range(len(tasks))), total=len(tasks)))
        finally:  # if the user interrupts, nothing more is spoken
            pool.shutdown(cancel_futures=True)
    return counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to make, e.g. data/words')
    for split, count in (('train', 120), ('val', 15), ('test', 25)):
        parser.add_argument(
            f'--{split}',
            type=positive,
            default=count,
            help=f'voices of the split, a clip of each word each ({count})',
        )
    parser.add_argument(
        '--words', nargs='+', default=WORDS, help='(the 35 words)'
    )
    parser.add_argument('--seed', type=seed, default=0, help='(0)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    wrong = [w for w in args.words if not re.fullmatch(r'[^\W_][^/\\]*', w)]
    if wrong or len(set(args.words)) < len(args.words):
        raise UsageError(
            '--words must be different words that can name folders, got '
            f'{" ".join(map(repr, args.words))}.'
        )
    voices = {split: getattr(args, split) for split in SPLITS}
    with new_folder(args.out) as folder:
        counts = write_words(folder, args.words, voices, (args.seed,))
    said = ', '.join(f'{count} {split}' for split, count in counts.items())
    print(f'{said} clips of {len(args.words)} words are in {args.out}')


if __name__ == '__main__':
    run(main)
