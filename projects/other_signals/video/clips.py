"""From a video to clips of frames.

Source of the numbers: Video/dataset/datasets.py of
AILab-CVC/UniRepLKNet@b5677d8, which has them from VideoMAE V2.
"""

from typing import Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmrep.registry import TRANSFORMS

from ..media import count_frames, read_frames


@TRANSFORMS.register_module()
class SampleClips(BaseTransform):
    """Choose the frames of one clip at random, or of several in order.

    If a clip is longer than the video, its last frame is repeated.

    Args:
        num_frames (int): Frames of a clip. Defaults to 16.
        interval (int): Sampling interval: one of this many frames is used.
            Defaults to 4.
        num_clips (int, optional): Number of clips, from the first possible one
            to the last; a single one is centred. Defaults to None, one at
            random.
    """

    def __init__(
        self,
        num_frames: int = 16,
        interval: int = 4,
        num_clips: Optional[int] = None,
    ) -> None:
        self.num_frames = num_frames
        self.interval = interval
        self.num_clips = num_clips

    def transform(self, results: dict) -> dict:
        """Add ``frames``: numbers (clips, num_frames)."""
        total = count_frames(results['video_path'])
        if self.num_clips is None:
            clips = [self.random_clip(total)]
        else:
            sampled = np.arange(0, total, self.interval)
            spare = max(len(sampled) - self.num_frames, 0)
            starts = (
                [spare // 2]
                if self.num_clips == 1
                else np.linspace(0, spare, self.num_clips).astype(int)
            )
            clips = [
                sampled[(start + np.arange(self.num_frames)).clip(
                    max=len(sampled) - 1
                )]
                for start in starts
            ]  # fmt: skip
        results['frames'] = np.array(clips)
        return results

    def random_clip(self, total: int) -> np.ndarray:
        """Frames spread over a random span of the video."""
        span = self.num_frames * self.interval
        if total > span:
            begin = np.random.randint(0, total - span)
            frames = np.linspace(begin, begin + span, self.num_frames)
            return frames.clip(max=begin + span - 1).astype(int)
        frames = np.linspace(0, total, total // self.interval)
        missing = self.num_frames - len(frames)
        frames = np.pad(frames, (0, missing), constant_values=total)
        return frames.clip(max=total - 1).astype(int)


@TRANSFORMS.register_module()
class DecodeClips(BaseTransform):
    """Read the chosen frames."""

    def transform(self, results: dict) -> dict:
        """Add ``clips`` (clips, T, H, W, 3), uint8, RGB."""
        frames = results['frames']
        images = read_frames(results['video_path'], frames.ravel().tolist())
        results['clips'] = images.reshape(*frames.shape, *images.shape[1:])
        return results


@TRANSFORMS.register_module()
class KeepOneFrame(BaseTransform):
    """Replace all frames of each clip by a random one of them.

    What a model still recognises then does not depend on motion.
    """

    def transform(self, results: dict) -> dict:
        """Change ``clips``."""
        clips = results['clips']
        chosen = np.random.randint(clips.shape[1], size=len(clips))
        results['clips'] = np.stack(
            [
                np.broadcast_to(clip[t], clip.shape)
                for clip, t in zip(clips, chosen, strict=True)
            ]
        )
        return results


@TRANSFORMS.register_module()
class RandomViews(BaseTransform):
    """Cut a part of random size and shape out of each clip.

    Args:
        size (int): Height and width of the views. Defaults to 224.
        scale (tuple[float, float]): Share of the area. Defaults to (0.08,
            1.0).
        ratio (tuple[float, float]): Width by height. Defaults to (3 / 4,
            4 / 3).
        flip (float): Probability of a horizontal flip. Defaults to 0.5.
        repeats (int): Views of each clip. Defaults to 1.
    """

    def __init__(
        self,
        size: int = 224,
        scale: Tuple[float, float] = (0.08, 1.0),
        ratio: Tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        repeats: int = 1,
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.flip = flip
        self.repeats = repeats

    def transform(self, results: dict) -> dict:
        """Change ``clips`` to views (clips * repeats, T, size, size, 3)."""
        results['clips'] = np.stack(
            [
                self.view(clip)
                for clip in results['clips']
                for _ in range(self.repeats)
            ]
        )
        return results

    def view(self, clip: np.ndarray) -> np.ndarray:
        """One view of a clip."""
        height, width = clip.shape[1:3]
        for _ in range(10):
            area = height * width * np.random.uniform(*self.scale)
            ratio = np.exp(np.random.uniform(*np.log(self.ratio)))
            w, h = (round((area * r) ** 0.5) for r in (ratio, 1 / ratio))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = width, height
        top = np.random.randint(height - h + 1)
        left = np.random.randint(width - w + 1)
        part = clip[:, top : top + h, left : left + w]
        part = resize(part, (self.size, self.size))
        return part[:, :, ::-1] if np.random.rand() < self.flip else part


@TRANSFORMS.register_module()
class CropViews(BaseTransform):
    """Resize the shorter side, and cut squares along the longer one.

    Args:
        size (int): Height and width of the views. Defaults to 224.
        num_crops (int): Squares of each clip, from one end to the other; a
            single one is centred. Defaults to 3.
    """

    def __init__(self, size: int = 224, num_crops: int = 3) -> None:
        self.size = size
        self.num_crops = num_crops

    def transform(self, results: dict) -> dict:
        """Change ``clips`` to views (clips * num_crops, T, size, size, 3)."""
        results['clips'] = np.concatenate(
            [self.views(clip) for clip in results['clips']]
        )
        return results

    def views(self, clip: np.ndarray) -> np.ndarray:
        """The views of a clip."""
        height, width = clip.shape[1:3]
        scale = self.size / min(height, width)
        shape = [
            max(round(side * scale), self.size) for side in (width, height)
        ]
        clip = resize(clip, tuple(shape))
        axis = 1 if height > width else 2
        spare = clip.shape[axis] - self.size
        starts = (
            [spare // 2]
            if self.num_crops == 1
            else np.linspace(0, spare, self.num_crops).astype(int)
        )
        return np.stack(
            [
                clip.take(range(start, start + self.size), axis)
                for start in starts
            ]
        )


def resize(clip: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resize frames (T, H, W, 3) to a width and a height."""
    if clip.shape[2:0:-1] == size:
        return clip
    return np.stack([cv2.resize(np.ascontiguousarray(f), size) for f in clip])


@TRANSFORMS.register_module()
class PackClips(BaseTransform):
    """Pack views and a class for VideoClassifier.

    Args:
        mean (Sequence[float]): Mean of each channel, of 0 to 255. Defaults
            to ImageNet's.
        std (Sequence[float]): Standard deviation of each channel.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        self.mean = np.array(mean, np.float32)
        self.std = np.array(std, np.float32)

    def transform(self, results: dict) -> dict:
        """``inputs`` (views, 3, T, H, W) and ``gt_label``."""
        clips = (results['clips'] - self.mean) / self.std
        clips = np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))
        return dict(
            inputs=torch.from_numpy(clips),
            data_samples=dict(gt_label=results['gt_label']),
        )
