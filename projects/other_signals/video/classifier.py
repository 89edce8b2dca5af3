"""A classifier of videos, like that of UniRepLKNet's authors."""

from typing import Any, Tuple

import torch.nn.functional as F
from torch import Tensor

from mmrep.registry import MODELS

from ..classifier import MapClassifier

LAYOUTS = ('reshape', 'tiles')


def frames_to_map(clips: Tensor, grid: Tuple[int, int], layout: str) -> Tensor:
    """Lay the frames of a clip out as one map.

    Args:
        clips (Tensor): Shape (N, C, T, H, W).
        grid (tuple[int, int]): Factors of the height and the width of a frame;
            their product is T.
        layout (str): 'reshape', as published: the values of a channel keep
            their order, so frame t fills rows t * H / cols to (t + 1) * H /
            cols, and a row of the map holds ``cols`` rows of a frame one after
            the other. 'tiles': frames side by side, row by row.

    Returns:
        Tensor: Shape (N, C, rows * H, cols * W).
    """
    rows, cols = grid
    n, c, t, h, w = clips.shape
    if rows * cols != t:
        raise ValueError(
            f'grid must have a place for each of {t} frames, got {rows} x '
            f'{cols}.'
        )
    if layout == 'tiles':
        clips = clips.unflatten(2, grid).transpose(3, 4)
    return clips.reshape(n, c, rows * h, cols * w)


@MODELS.register_module()
class VideoClassifier(MapClassifier):
    """A classifier of clips (N, views, 3, T, H, W).

    The scores are the mean of the views' probabilities. In training, every
    view is a sample. Source: Video/engine_for_finetuning.py of
    AILab-CVC/UniRepLKNet@b5677d8.

    Args:
        grid (tuple[int, int]): Frames in a column and in a row of the map.
            Defaults to (4, 4).
        layout (str): 'reshape' or 'tiles', see :func:`frames_to_map`.
            Defaults to 'reshape', the published one.
        label_smoothing (float): Share of the target divided among all classes.
            Defaults to 0.1.
        **kwargs: Arguments of MapClassifier.
    """

    def __init__(
        self,
        grid: Tuple[int, int] = (4, 4),
        layout: str = 'reshape',
        label_smoothing: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if layout not in LAYOUTS:
            raise ValueError(f'layout must be one of {LAYOUTS}, got {layout}.')
        self.grid = tuple(grid)
        self.layout = layout
        self.label_smoothing = label_smoothing

    def classify_views(self, inputs: Tensor) -> Tensor:
        """Logits (N, views, num_classes)."""
        clips = inputs.flatten(0, 1)
        logits = self.classify(frames_to_map(clips, self.grid, self.layout))
        return logits.unflatten(0, inputs.shape[:2])

    def scores(self, inputs: Tensor) -> Tensor:
        """Probabilities (N, num_classes), the mean over the views."""
        return self.classify_views(inputs).softmax(2).mean(1)

    def loss(self, inputs: Tensor, data_samples: dict) -> Tensor:
        """Cross entropy of all views."""
        logits = self.classify_views(inputs)
        labels = data_samples['gt_label'][:, None].expand(logits.shape[:2])
        return F.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            label_smoothing=self.label_smoothing,
        )
