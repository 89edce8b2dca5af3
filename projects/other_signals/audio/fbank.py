"""Kaldi's filter banks, and their augmentation in training.

Source of the numbers: Audio/src/dataloader.py of
AILab-CVC/UniRepLKNet@b5677d8, which has them from the Audio Spectrogram
Transformer.
"""

from functools import lru_cache

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmrep.errors import UsageError
from mmrep.registry import TRANSFORMS

from ..media import read_audio

# seconds
WINDOW, SHIFT = 0.025, 0.010
LOWEST_FREQUENCY = 20.0  # Hz
PREEMPHASIS = 0.97
FLOOR = np.finfo(np.float32).eps


def mel(frequency: np.ndarray) -> np.ndarray:
    """Hz in Kaldi's mel scale."""
    return 1127 * np.log(1 + frequency / 700)


@lru_cache
def mel_filters(num_bins: int, fft_size: int, sample_rate: int) -> np.ndarray:
    """Triangles in the mel scale, (fft_size / 2 + 1, num_bins)."""
    frequencies = np.arange(fft_size // 2 + 1) * sample_rate / fft_size
    low, high = mel(np.array([LOWEST_FREQUENCY, sample_rate / 2]))
    corners = np.linspace(low, high, num_bins + 2)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    at = mel(frequencies)[:, None]
    rising = (at - left) / (centre - left)
    falling = (right - at) / (right - centre)
    filters = np.minimum(rising, falling).clip(0)
    filters[-1] = 0  # Kaldi omits half the sample rate
    return filters


def kaldi_fbank(
    samples: np.ndarray, sample_rate: int, num_bins: int
) -> np.ndarray:
    """Log energies of mel bins, as Kaldi's compute-fbank-feats without dither.

    Its other options are the published ones: windows of 25 ms every 10 ms, a
    Hann window, and no energy. kaldi-native-fbank, which wraps Kaldi's code,
    refuses 128 bins at 16 kHz, because some are between two frequencies of a
    window; here they have the floor value, as in torchaudio.

    Args:
        samples (ndarray): Shape (N, ), at least 25 ms.
        sample_rate (int): Samples per second.
        num_bins (int): Number of mel bins.

    Returns:
        ndarray: Shape (1 + (N - window) // shift, num_bins), float32.
    """
    length, shift = int(sample_rate * WINDOW), int(sample_rate * SHIFT)
    windows = np.lib.stride_tricks.sliding_window_view(samples, length)
    windows = windows[::shift].astype(np.float64)
    windows = windows - windows.mean(1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], 1)
    windows = (windows - PREEMPHASIS * before) * np.hanning(length)
    fft_size = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(windows, fft_size)) ** 2
    energies = power @ mel_filters(num_bins, fft_size, sample_rate)
    return np.log(energies.clip(FLOOR)).astype(np.float32)


@TRANSFORMS.register_module()
class LoadWaveform(BaseTransform):
    """Read a clip, and mix another into it if the data set provides one.

    The mean is subtracted. The second of two clips is cut or padded to the
    first, and the share of the first is drawn from Beta(10, 10).

    Args:
        sample_rate (int): Samples per second. Defaults to 16000.
    """

    def __init__(self, sample_rate: int = 16000) -> None:
        self.sample_rate = sample_rate

    def transform(self, results: dict) -> dict:
        """Add ``waveform`` (N, ), ``sample_rate`` and the ``share``."""
        waveform = self.read(results['audio_path'])
        results['share'] = 1.0
        if 'other' in results:
            other = self.read(results['other']['audio_path'])[: len(waveform)]
            other = np.pad(other, (0, len(waveform) - len(other)))
            results['share'] = share = np.random.beta(10, 10)
            waveform = share * waveform + (1 - share) * other
            waveform = waveform - waveform.mean()
        results['waveform'] = waveform
        results['sample_rate'] = self.sample_rate
        return results

    def read(self, path: str) -> np.ndarray:
        """A clip of at least one window, minus its mean."""
        samples = read_audio(path, self.sample_rate)
        if len(samples) < int(self.sample_rate * WINDOW):
            raise UsageError(
                f'{path} must be {WINDOW * 1000:.0f} ms long or longer, but '
                f'is {len(samples) / self.sample_rate * 1000:.1f} ms.'
            )
        return samples - samples.mean()


@TRANSFORMS.register_module()
class KaldiFbank(BaseTransform):
    """Filter banks of a waveform, cut or padded with 0 to a fixed length.

    Args:
        num_bins (int): Number of mel bins. Defaults to 128.
        num_frames (int): Number of frames of 10 ms. Defaults to 128.
    """

    def __init__(self, num_bins: int = 128, num_frames: int = 128) -> None:
        self.num_bins = num_bins
        self.num_frames = num_frames

    def transform(self, results: dict) -> dict:
        """Add ``fbank`` (num_bins, num_frames)."""
        fbank = kaldi_fbank(
            results['waveform'], results['sample_rate'], self.num_bins
        )[: self.num_frames]
        missing = self.num_frames - len(fbank)
        results['fbank'] = np.pad(fbank, ((0, missing), (0, 0))).T
        return results


@TRANSFORMS.register_module()
class MaskFbank(BaseTransform):
    """Set a band of bins and a span of frames to 0.

    Args:
        max_bins (int): The band is narrower. Defaults to 48.
        max_frames (int): The span is shorter. Defaults to 48.
    """

    def __init__(self, max_bins: int = 48, max_frames: int = 48) -> None:
        self.limits = (max_bins, max_frames)

    def transform(self, results: dict) -> dict:
        """Change ``fbank``."""
        fbank = results['fbank'].copy()
        for axis, limit in enumerate(self.limits):
            size = np.random.rand() * limit
            begin = int(np.random.rand() * (fbank.shape[axis] - size))
            masked = np.moveaxis(fbank, axis, 0)
            masked[begin : begin + int(size)] = 0
        results['fbank'] = fbank
        return results


@TRANSFORMS.register_module()
class NormalizeFbank(BaseTransform):
    """Subtract the mean and divide by twice the standard deviation.

    Args:
        mean (float): Mean of the data set. Defaults to -6.845978, that of
            Speech Commands.
        std (float): Its standard deviation. Defaults to 5.5654526.
    """

    def __init__(
        self, mean: float = -6.845978, std: float = 5.5654526
    ) -> None:
        self.mean = mean
        self.std = std

    def transform(self, results: dict) -> dict:
        """Change ``fbank``."""
        results['fbank'] = (results['fbank'] - self.mean) / (2 * self.std)
        return results


@TRANSFORMS.register_module()
class NoiseAndRoll(BaseTransform):
    """Add noise of a random level, and shift by up to ten frames.

    What leaves the map at one end comes in at the other.
    """

    def transform(self, results: dict) -> dict:
        """Change ``fbank``."""
        fbank = results['fbank']
        level = np.random.rand() / 10
        fbank = fbank + level * np.random.rand(*fbank.shape)
        results['fbank'] = np.roll(fbank, np.random.randint(-10, 10), 1)
        return results


@TRANSFORMS.register_module()
class PackFbank(BaseTransform):
    """Pack filter banks and classes for AudioClassifier."""

    def transform(self, results: dict) -> dict:
        """``inputs`` (1, bins, frames), ``target`` and ``gt_label``."""
        target = torch.zeros(results['num_classes'])
        target[results['gt_label']] = results['share']
        if 'other' in results:
            target[results['other']['gt_label']] += 1 - results['share']
        fbank = np.ascontiguousarray(results['fbank'], np.float32)
        return dict(
            inputs=torch.from_numpy(fbank)[None],
            data_samples=dict(target=target, gt_label=results['gt_label']),
        )
