"""Adaptive average pooling that exporters accept, for any size."""

from typing import Tuple

import torch
from torch import Tensor, nn


def matrix_pool(x: Tensor, output_size: Tuple[int, int]) -> Tensor:
    """``F.adaptive_avg_pool2d`` as two matrix products.

    Args:
        x (Tensor): Shape (N, C, H, W).
        output_size (tuple[int, int]): Height and width of the output; like
            those of ``x``, they may be symbolic.

    Returns:
        Tensor: Shape (N, C, *output_size).
    """
    bins_h, bins_w = output_size
    rows = _matrix(bins_h, x.shape[2], x)
    columns = _matrix(bins_w, x.shape[3], x)
    return rows @ x @ columns.transpose(0, 1)


def _matrix(bins: int, size: int, x: Tensor) -> Tensor:
    """Weight of each place in each bin: (bins, size)."""
    i = torch.arange(bins, device=x.device).unsqueeze(1)
    place = torch.arange(size, device=x.device).unsqueeze(0) * bins
    # floor(i size / bins) <= place < ceil((i + 1) size / bins)
    inside = (place + bins > i * size) & (place < (i + 1) * size)
    weight = inside.to(x.dtype)
    return weight / weight.sum(1, keepdim=True)


class MatrixPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products.

    ONNX has no adaptive pooling, and exporters unroll it for one input size.
    Here the averaging matrices are computed from the size of the input.

    Args:
        output_size (tuple[int, int]): Height and width of the output.
    """

    def __init__(self, output_size: Tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, *output_size)."""
        if tuple(self.output_size) == (1, 1):
            return x.mean((2, 3), keepdim=True)
        return matrix_pool(x, self.output_size)
