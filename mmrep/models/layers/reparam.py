"""Large-kernel convolutions with re-parameterized parallel branches."""

from typing import Any, Iterator, Optional, Sequence, Tuple

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrep.models.layers.conv_bn import (
    build_conv_bn,
    fold_bn,
    is_frozen_bn,
)
from mmrep.ops import DepthwiseConv2d


def depthwise(
    channels: int,
    kernel_size: int,
    bias: bool,
    dilation: int = 1,
    stride: int = 1,
) -> DepthwiseConv2d:
    """A depth-wise layer whose output has the size of its input / stride."""
    return DepthwiseConv2d(
        channels,
        channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=channels,
        bias=bias,
    )


def merged_depthwise(
    conv: nn.Conv2d, weight: Tensor, bias: Tensor
) -> DepthwiseConv2d:
    """A biased depth-wise layer with these values, in the mode of ``conv``.

    Args:
        conv (nn.Conv2d): The layer that it replaces.
        weight (Tensor): Shape (C, 1, K, K).
        bias (Tensor): Shape (C, ).

    Returns:
        DepthwiseConv2d: On the device of ``weight`` and in its dtype.
    """
    merged = depthwise(
        conv.in_channels, weight.size(-1), bias=True, stride=conv.stride[0]
    )
    merged = merged.to(weight)
    merged.backend = getattr(conv, 'backend', merged.backend)
    merged.autotune = getattr(conv, 'autotune', merged.autotune)
    with torch.no_grad():
        merged.weight.copy_(weight)
        merged.bias.copy_(bias)
    merged.requires_grad_(conv.weight.requires_grad)
    return merged.train(conv.training)


def add_kernel(large: Tensor, small: Tensor, dilation: int = 1) -> Tensor:
    """Sum of two kernels as one, the second dilated and centred.

    Args:
        large (Tensor): Shape (C, 1, K, K).
        small (Tensor): Shape (C, 1, k, k) with dilation * (k - 1) + 1 <= K,
            both sizes odd.
        dilation (int): Dilation of the small kernel. Defaults to 1.

    Returns:
        Tensor: Shape (C, 1, K, K).
    """
    margin = (large.size(-1) - dilation * (small.size(-1) - 1) - 1) // 2
    taps = slice(margin, large.size(-1) - margin, dilation)
    total = large.clone()
    total[..., taps, taps] += small
    return total


class ReparamLargeKernelConv(nn.Module):
    """Depth-wise large kernel parallel to a small one, mergeable into one.

    In training form the output is ``bn(large(x)) + bn(small(x))``; in deploy
    form it is one biased large kernel. `Scaling Up Your Kernels to 31x31
    <https://arxiv.org/abs/2203.06717>`_, Guideline 3.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int): Size of the large kernel, odd.
        small_kernel (int, optional): Size of the parallel kernel, odd and not
            above ``kernel_size``; None omits the branch.
        norm_cfg (dict): Config of the norm after each kernel.
        deploy (bool): Build the merged form. Defaults to False.
        stride (int): Stride of both kernels. Defaults to 1.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        small_kernel: Optional[int],
        norm_cfg: dict,
        deploy: bool = False,
        stride: int = 1,
    ) -> None:
        super().__init__()
        for name, size in (
            ('kernel_size', kernel_size),
            ('small_kernel', small_kernel),
        ):
            if size is not None and (size < 1 or size % 2 == 0):
                raise ValueError(
                    f'{name} must be odd and positive, got {size}.'
                )
        if small_kernel is not None and small_kernel > kernel_size:
            raise ValueError(
                'small_kernel must not exceed kernel_size '
                f'({kernel_size}), got {small_kernel}.'
            )
        self.lkb_reparam = None
        self.lkb_origin: Any = None
        self.small_conv: Any = None
        if deploy:
            self.lkb_reparam = depthwise(
                channels, kernel_size, bias=True, stride=stride
            )
            return
        self.lkb_origin = build_conv_bn(
            depthwise(channels, kernel_size, bias=False, stride=stride),
            norm_cfg,
        )
        if small_kernel is not None:
            self.small_conv = build_conv_bn(
                depthwise(channels, small_kernel, bias=False, stride=stride),
                norm_cfg,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a map (N, C, H, W); stride 1 keeps its size."""
        if self.lkb_reparam is not None:
            return self.lkb_reparam(x)
        out = self.lkb_origin(x)
        if self.small_conv is not None:
            out = out + self.small_conv(x)
        return out

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge kernels, branches and norms into ``lkb_reparam`` in place."""
        if self.lkb_reparam is not None:
            return
        large = self.lkb_origin.conv
        weight, bias = fold_bn(large, self.lkb_origin.bn)
        if self.small_conv is not None:
            small = self.small_conv.conv
            small_weight, small_bias = fold_bn(small, self.small_conv.bn)
            weight = add_kernel(weight, small_weight)
            bias = bias + small_bias
        self.lkb_reparam = merged_depthwise(large, weight, bias)
        self.lkb_origin = None
        self.small_conv = None


# Size and dilation of the kernels parallel to a large one, as published.
DILATED_BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}


class DilatedReparamBlock(nn.Module):
    """Depth-wise large kernel with parallel dilated small ones, mergeable.

    In training form the output is the sum over the kernels, each followed by
    its own norm; in deploy form it is one biased large kernel. `UniRepLKNet
    <https://arxiv.org/abs/2311.15599>`_, Figure 2. If the batch norms use
    their running statistics, as in validation, the training form also computes
    with the merged kernel.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int): Size of the large kernel, odd.
        norm_cfg (dict): Config of the norm after each kernel.
        branches (Sequence[tuple[int, int]], optional): Size and dilation of
            each parallel kernel. Defaults to the published ones, which exist
            for sizes from 5 to 17.
        deploy (bool): Build the merged form. Defaults to False.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        norm_cfg: dict,
        branches: Optional[Sequence[Tuple[int, int]]] = None,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f'kernel_size must be odd and positive, got {kernel_size}.'
            )
        if branches is None:
            if kernel_size not in DILATED_BRANCHES:
                raise ValueError(
                    'branches are published only for the kernel sizes '
                    f'{tuple(DILATED_BRANCHES)}, so other sizes need the '
                    f'argument branches, got {kernel_size}.'
                )
            branches = DILATED_BRANCHES[kernel_size]
        self.branches = tuple((int(k), int(r)) for k, r in branches)
        for k, r in self.branches:
            if k < 1 or k % 2 == 0 or r < 1 or r * (k - 1) >= kernel_size:
                raise ValueError(
                    'a branch must be an odd size and a dilation that '
                    f'together span at most {kernel_size}, got {(k, r)}.'
                )
        if len(set(self.branches)) < len(self.branches):
            raise ValueError(
                f'branches must differ, got {tuple(self.branches)}.'
            )
        self.lk_origin = depthwise(channels, kernel_size, bias=deploy)
        self.origin_bn = None
        if deploy:
            return
        self.origin_bn = build_norm_layer(norm_cfg, channels)[1]
        for k, r in self.branches:
            conv = depthwise(channels, k, bias=False, dilation=r)
            self.add_module(f'dil_conv_k{k}_{r}', conv)
            norm = build_norm_layer(norm_cfg, channels)[1]
            self.add_module(f'dil_bn_k{k}_{r}', norm)

    def _layers(self) -> Iterator[Tuple[nn.Conv2d, nn.Module]]:
        """Each kernel of the training form with its norm."""
        yield self.lk_origin, self.origin_bn
        for k, r in self.branches:
            yield (
                self.get_submodule(f'dil_conv_k{k}_{r}'),
                self.get_submodule(f'dil_bn_k{k}_{r}'),
            )

    def is_mergeable(self) -> bool:
        """Whether the block currently equals a single kernel."""
        return self.origin_bn is None or all(
            is_frozen_bn(norm) for _, norm in self._layers()
        )

    def merge(self) -> Tuple[Tensor, Optional[Tensor]]:
        """The kernel and bias that equal the block; they are differentiable.

        Returns:
            tuple[Tensor, Tensor]: Shapes (C, 1, K, K) and (C, ).
        """
        if self.origin_bn is None:
            return self.lk_origin.weight, self.lk_origin.bias
        weight, bias = fold_bn(self.lk_origin, self.origin_bn)
        for conv, norm in list(self._layers())[1:]:
            small, shift = fold_bn(conv, norm)
            weight = add_kernel(weight, small, conv.dilation[0])
            bias = bias + shift
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a map of shape (N, C, H, W) into one of equal shape."""
        if self.origin_bn is None:
            return self.lk_origin(x)
        if self.is_mergeable():
            return self.lk_origin.convolve(x, *self.merge())
        out = self.origin_bn(self.lk_origin(x))
        for conv, norm in list(self._layers())[1:]:
            out = out + norm(conv(x))
        return out

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge kernels and norms into ``lk_origin`` in place."""
        if self.origin_bn is None:
            return
        self.set_merged(*self.merge())

    def set_merged(self, weight: Tensor, bias: Tensor) -> None:
        """Turn into the deploy form with this kernel and bias."""
        self.lk_origin = merged_depthwise(self.lk_origin, weight, bias)
        self.origin_bn = None
        for k, r in self.branches:
            delattr(self, f'dil_conv_k{k}_{r}')
            delattr(self, f'dil_bn_k{k}_{r}')
