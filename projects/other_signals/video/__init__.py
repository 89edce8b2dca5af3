"""Actions in videos, by UniRepLKNet on all frames as one map."""

from .classifier import VideoClassifier
from .clips import (
    CropViews,
    DecodeClips,
    KeepOneFrame,
    PackClips,
    RandomViews,
    SampleClips,
)
from .videos import VideoDataset

__all__ = [
    'CropViews',
    'DecodeClips',
    'KeepOneFrame',
    'PackClips',
    'RandomViews',
    'SampleClips',
    'VideoClassifier',
    'VideoDataset',
]
