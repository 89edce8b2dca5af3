"""Spoken words, by UniRepLKNet on filter banks."""

from .classifier import AudioClassifier
from .fbank import (
    KaldiFbank,
    LoadWaveform,
    MaskFbank,
    NoiseAndRoll,
    NormalizeFbank,
    PackFbank,
)
from .speech_commands import SpeechCommands

__all__ = [
    'AudioClassifier',
    'KaldiFbank',
    'LoadWaveform',
    'MaskFbank',
    'NoiseAndRoll',
    'NormalizeFbank',
    'PackFbank',
    'SpeechCommands',
]
