"""Sliding-window segmentation of pictures of any size.

MMSegmentation sums the logits of the whole picture: for 8000x8000 pixels and
150 classes that is 38 GB. Here they are held on the CPU for only one row of
windows, and a line of pixels is decided as soon as no window below reaches it.
"""

import copy
from typing import Iterator, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn


def window_starts(length: int, crop: int, stride: int) -> List[int]:
    """Where windows begin; the last one ends with the picture."""
    if length <= crop:
        return [0]
    return [*range(0, length - crop, stride), length - crop]


class _Rows:
    """Ring buffer of logits of the ``height`` lines that windows add to."""

    def __init__(self, classes: int, height: int, width: int) -> None:
        self.height = height
        self.sums = torch.zeros(classes, height, width)
        self.counts = torch.zeros(height, width)

    def _spans(self, top: int, end: int) -> Iterator[Tuple[slice, slice]]:
        """Lines of the picture and their places in the ring."""
        while top < end:
            place = top % self.height
            length = min(end - top, self.height - place)
            yield slice(top, top + length), slice(place, place + length)
            top += length

    def add(self, logits: Tensor, top: int, left: int) -> None:
        """Add the logits (C, h, w) of a window."""
        right = left + logits.size(2)
        for lines, places in self._spans(top, top + logits.size(1)):
            own = slice(lines.start - top, lines.stop - top)
            self.sums[:, places, left:right] += logits[:, own]
            self.counts[places, left:right] += 1

    def take(self, top: int, end: int) -> Iterator[Tuple[slice, Tensor]]:
        """Mean logits (C, h, W) of lines; use them before the next call."""
        for lines, places in self._spans(top, end):
            sums, counts = self.sums[:, places], self.counts[places]
            yield lines, sums.div_(counts)
            sums.zero_()
            counts.zero_()


@torch.no_grad()
def slide_labels(
    model: nn.Module,
    image: np.ndarray,
    crop: Tuple[int, int],
    stride: Tuple[int, int],
) -> np.ndarray:
    """Segment a picture at its own size, window by window.

    The result is that of MMSegmentation's ``slide`` mode. Besides the picture
    and the labels, it needs classes x crop height x width x 4 bytes of memory,
    and what one window needs.

    Args:
        model (nn.Module): A segmentor in evaluation mode.
        image (np.ndarray): Shape (H, W, C), as read from a file.
        crop (tuple[int, int]): Height and width of a window.
        stride (tuple[int, int]): Steps between windows.

    Returns:
        np.ndarray: Labels, shape (H, W), uint8 or int32.
    """
    height, width = image.shape[:2]
    # padded as a whole, not window by window
    preprocessor = copy.copy(model.data_preprocessor)
    full_h, full_w = _padded_size(preprocessor, height, width)
    preprocessor.test_cfg = None
    crop_h, crop_w = min(crop[0], full_h), min(crop[1], full_w)
    tops = window_starts(full_h, crop_h, stride[0])
    lefts = window_starts(full_w, crop_w, stride[1])
    classes = model.out_channels
    dtype = np.uint8 if classes < 256 else np.int32
    labels = np.zeros((full_h, full_w), dtype)
    rows = _Rows(classes, crop_h, full_w)
    for top, following in zip(tops, [*tops[1:], full_h], strict=True):
        for left in lefts:
            window = image[top : top + crop_h, left : left + crop_w]
            inputs = _inputs(preprocessor, window, crop_h, crop_w)
            meta = dict(
                ori_shape=(crop_h, crop_w),
                img_shape=(crop_h, crop_w),
                pad_shape=(crop_h, crop_w),
                padding_size=[0] * 4,
            )
            logits = model.encode_decode(inputs, [meta])[0]
            rows.add(logits.cpu().float(), top, left)
        for lines, logits in rows.take(top, following):
            labels[lines] = _decide(model, logits)
    return labels[:height, :width]


def _padded_size(
    preprocessor: nn.Module, height: int, width: int
) -> Tuple[int, int]:
    """The size to which a test pads a picture, at the bottom and right."""
    test_cfg = getattr(preprocessor, 'test_cfg', None) or {}
    if test_cfg.get('size'):
        least_h, least_w = test_cfg['size']
        return max(height, least_h), max(width, least_w)
    divisor = test_cfg.get('size_divisor') or 1
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def _inputs(
    preprocessor: nn.Module, window: np.ndarray, height: int, width: int
) -> Tensor:
    """A window (h, w, C) as the network's input, (1, C, height, width)."""
    pixels = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1)))
    data = dict(inputs=[pixels], data_samples=[SegDataSample()])
    inputs = preprocessor(data, False)['inputs']
    missing = (0, width - inputs.size(3), 0, height - inputs.size(2))
    return F.pad(inputs, missing, value=getattr(preprocessor, 'pad_val', 0))


def _decide(model: nn.Module, logits: Tensor) -> np.ndarray:
    """Labels of mean logits (C, h, W), as MMSegmentation decides."""
    if logits.size(0) > 1:
        return logits.argmax(0).numpy()
    return (logits[0].sigmoid() > model.decode_head.threshold).numpy()
