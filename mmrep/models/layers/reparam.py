"""Large-kernel convolution with a re-parameterized small branch."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrep.models.layers.conv_bn import build_conv_bn, fold_bn
from mmrep.ops import DepthwiseConv2d


def _depthwise(channels: int, kernel_size: int, bias: bool) -> DepthwiseConv2d:
    return DepthwiseConv2d(
        channels,
        channels,
        kernel_size,
        padding=kernel_size // 2,
        groups=channels,
        bias=bias,
    )


class ReparamLargeKernelConv(nn.Module):
    """Depth-wise large kernel beside a small one, mergeable into one.

    In training form the output is ``bn(large(x)) + bn(small(x))``; in deploy
    form it is one biased large kernel. `Scaling Up Your Kernels to 31x31
    <https://arxiv.org/abs/2203.06717>`_, Guideline 3.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int): Size of the large kernel, odd.
        small_kernel (int, optional): Size of the parallel kernel, odd and not
            above ``kernel_size``; None leaves the branch out.
        norm_cfg (dict): Config of the norm behind each kernel.
        deploy (bool): Build the merged form. Defaults to False.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        small_kernel: Optional[int],
        norm_cfg: dict,
        deploy: bool = False,
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
        self.lkb_origin = None
        self.small_conv = None
        if deploy:
            self.lkb_reparam = _depthwise(channels, kernel_size, bias=True)
            return
        self.lkb_origin = build_conv_bn(
            _depthwise(channels, kernel_size, bias=False), norm_cfg
        )
        if small_kernel is not None:
            self.small_conv = build_conv_bn(
                _depthwise(channels, small_kernel, bias=False), norm_cfg
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a map of shape (N, C, H, W) into one of equal shape."""
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
            margin = (large.kernel_size[0] - small.kernel_size[0]) // 2
            weight = weight + F.pad(small_weight, [margin] * 4)
            bias = bias + small_bias
        merged = _depthwise(large.in_channels, large.kernel_size[0], bias=True)
        merged = merged.to(weight)
        merged.weight.copy_(weight)
        merged.bias.copy_(bias)
        merged.requires_grad_(large.weight.requires_grad)
        merged.train(self.training)
        self.lkb_reparam = merged
        self.lkb_origin = None
        self.small_conv = None
