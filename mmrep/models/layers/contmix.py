"""ContMix: a wide context chooses a kernel for each position."""

from typing import Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrep.models.layers.neighbourhood import (
    neighbourhood_product,
    relative_bias,
)
from mmrep.models.layers.pooling import matrix_pool

# The context is averaged into this many places per side.
CONTEXT = 7


class ContMix(nn.Module):
    """Context-mixing dynamic convolution with two sizes of kernels.

    A linear layer computes the kernels of a position from its similarity to
    each of 7 x 7 places of the context: a small kernel for the first half of
    the channels and a large one for the second. `OverLoCK
    <https://arxiv.org/abs/2502.20087>`_, Section 3.3.

    Args:
        channels (int): Channels of the map and of the output.
        context_channels (int): Channels of the context.
        kernel_sizes (tuple[int, int]): Small and large, odd.
        num_heads (int): Number of kernels of each size at a position; half of
            the channels must be a multiple of it.
        norm_cfg (dict): Config of every BN.
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        kernel_sizes: Tuple[int, int],
        num_heads: int,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        if channels % (2 * num_heads):
            raise ValueError(
                'half of the channels must be a multiple of the heads, got '
                f'{channels} channels and {num_heads} heads.'
            )
        self.kernel_sizes = kernel_sizes
        self.num_heads = num_heads
        self.scale = (channels // num_heads) ** -0.5
        half = channels // 2
        self.weight_query = nn.Sequential(
            nn.Conv2d(channels, half, 1, bias=False),
            build_norm_layer(norm_cfg, half)[1],
        )
        self.weight_key = nn.Sequential(
            nn.AdaptiveAvgPool2d(CONTEXT),
            nn.Conv2d(context_channels, half, 1, bias=False),
            build_norm_layer(norm_cfg, half)[1],
        )
        taps = sum(size**2 for size in kernel_sizes)
        self.weight_proj = nn.Conv2d(CONTEXT**2, taps, 1)
        for i, size in enumerate(kernel_sizes, start=1):
            shape = (num_heads, 2 * size - 1, 2 * size - 1)
            self.register_parameter(
                f'rpb{i}', nn.Parameter(torch.zeros(shape))
            )

    def mix(self, x: Tensor, query: Tensor, context: Tensor) -> Tensor:
        """Convolve each position with its own kernels.

        Args:
            x (Tensor): Values, shape (N, C, H, W).
            query (Tensor): What is compared with the context, same shape.
            context (Tensor): Shape (N, context_channels, H, W).

        Returns:
            Tensor: Shape (N, C, H, W).
        """
        shape = x.shape[2:]
        symbolic = any(isinstance(n, torch.SymInt) for n in shape)
        resizes = symbolic or min(shape) < max(self.kernel_sizes)
        height, width = shape
        if resizes:
            height, width = self._larger(shape[0], shape[1], symbolic)
            x, query, context = (
                F.interpolate(
                    m, (height, width), mode='bilinear', align_corners=False
                )
                for m in (x, query, context)
            )
        query = self.weight_query(query) * self.scale
        # (N, heads, H * W, c), (N, heads, c, 7 * 7)
        query = query.unflatten(1, (self.num_heads, -1)).flatten(3)
        query = query.transpose(2, 3)
        key = self.weight_key(context)
        key = key.unflatten(1, (self.num_heads, -1)).flatten(3)
        # (q k) w = q (k w), and the places of the context are few
        projection = self.weight_proj.weight.flatten(1).transpose(0, 1)
        sizes = [size**2 for size in self.kernel_sizes]
        maps = (key @ projection).split(sizes, -1)
        biases = self.weight_proj.bias.split(sizes)
        tables = self.rpb1, self.rpb2
        # (2, N, heads, H, W, c)
        values = x.unflatten(1, (2, self.num_heads, -1))
        values = values.permute(1, 0, 2, 4, 5, 3)
        outs = []
        for value, product, bias, table, size in zip(
            values, maps, biases, tables, self.kernel_sizes, strict=True
        ):
            logits = (query @ product).unflatten(2, (height, width))
            logits = logits + (relative_bias(table, height, width) + bias)
            weights = logits.softmax(-1)
            outs.append(neighbourhood_product(weights, value, size))
        # (N, 2, heads, c, H, W)
        out = torch.stack(outs, 1).permute(0, 1, 2, 5, 3, 4).flatten(1, 3)
        if symbolic:
            return matrix_pool(out, shape)
        return F.adaptive_avg_pool2d(out, shape) if resizes else out

    def _larger(
        self, height: int, width: int, symbolic: bool
    ) -> Tuple[int, int]:
        """Size of a map that holds the large window, in proportion.

        Symbolic sizes may stand for a map that is large enough and keeps its
        size.
        """
        size = max(self.kernel_sizes)
        if symbolic:
            return tuple(
                torch.sym_max(torch.sym_max(a, size), a * size // b)
                for a, b in ((height, width), (width, height))
            )
        # the order of operations is the published one, because rounding
        # depends on it
        if height < width:
            return size, int(size / height * width)
        return int(size / width * height), size
