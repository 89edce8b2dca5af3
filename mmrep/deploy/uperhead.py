"""UPerHead's fusion of its maps, with a third of the multiplications.

The head resizes the maps of all levels to the largest one, concatenates them,
and convolves with 3x3. Resizing is linear and acts on each channel separately,
so the products with each of the kernel's nine taps can be computed before it,
on the small maps. What remains is to resize and shift along one axis at a
time, each with a small matrix product.
"""

from typing import Any, List

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import UPerHead
from torch import Tensor, nn


class FusedUPerHead(UPerHead):
    """UPerHead in deploy form, with UPerHead's parameters and results."""

    def _forward_feature(self, inputs: List[Tensor]) -> Tensor:
        """Maps of every level to one (N, channels, H, W)."""
        if not inputs[0].is_cpu:  # measured only on CPUs
            return super()._forward_feature(inputs)
        inputs = self._transform_inputs(inputs)
        laterals = [
            conv(x)
            for conv, x in zip(self.lateral_convs, inputs, strict=False)
        ]
        laterals.append(self.psp_forward(inputs))
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + F.interpolate(
                laterals[i],
                size=laterals[i - 1].shape[2:],
                mode='bilinear',
                align_corners=self.align_corners,
            )
        outs = [
            conv(x)
            for conv, x in zip(self.fpn_convs, laterals[:-1], strict=True)
        ]
        outs.append(laterals[-1])
        bottleneck = self.fpn_bottleneck
        first, *weights = bottleneck.conv.weight.split(self.channels, 1)
        out = F.conv2d(outs[0], first, bottleneck.conv.bias, padding=1)
        for x, weight in zip(outs[1:], weights, strict=True):
            out = self._add_resized(out, x, weight)
        return bottleneck.activate(out) if bottleneck.with_activation else out

    def _add_resized(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Add the convolution of the resized ``x`` (N, C, h, w)."""
        height, width = out.shape[2:]
        channels = weight.size(0)
        # a product for each tap: (C_out x 3 x 3, C_in, 1, 1)
        taps = weight.permute(0, 2, 3, 1).reshape(9 * channels, -1, 1, 1)
        products = F.conv2d(x, taps).unflatten(1, (channels, 3, 3))
        wide = torch.einsum(
            'ncijhw,jwx->ncihx', products, self._matrices(x, width, 3)
        )
        high = torch.einsum(
            'ncihx,ihy->ncyx', wide, self._matrices(x, height, 2)
        )
        return out + high

    def _matrices(self, x: Tensor, size: int, dim: int) -> Tensor:
        """Matrices that resize an axis of ``x`` for each of a kernel's taps.

        Returns:
            Tensor: Shape (3, length of the axis, size); the k-th gives at each
                place the value of the resized map k - 1 places further on, and
                zero outside it.
        """
        eye = torch.eye(x.size(dim), dtype=x.dtype, device=x.device)
        resized = F.interpolate(
            eye[None, None],
            size=(x.size(dim), size),
            mode='bilinear',
            align_corners=self.align_corners,
        )[0, 0]
        padded = F.pad(resized, (1, 1))
        return torch.stack([padded[:, k : k + size] for k in range(3)])


def fuse_uper_heads(model: nn.Module) -> int:
    """Make the UPerHeads of a model fuse maps this way, in place.

    Heads whose last convolution is not a plain 3x3 with folded norm are not
    changed, nor are subclasses of UPerHead.

    Returns:
        int: Number of heads changed.
    """
    count = 0
    for module in model.modules():
        if type(module) is UPerHead and _is_plain(module.fpn_bottleneck):
            # a change of class can be undone, and keeps everything in the head
            module.__class__ = FusedUPerHead
            count += 1
    return count


def restore_uper_heads(model: nn.Module) -> None:
    """Undo :func:`fuse_uper_heads`, for exporters."""
    for module in model.modules():
        if type(module) is FusedUPerHead:
            module.__class__ = UPerHead


def _is_plain(module: nn.Module) -> bool:
    conv: Any = getattr(module, 'conv', None)
    return (
        isinstance(module, ConvModule)
        and type(conv) is nn.Conv2d
        and conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == (1, 1)
        and conv.padding_mode == 'zeros'
        and conv.groups == 1
        and module.order[:2] == ('conv', 'norm')
        and isinstance(
            getattr(module, 'norm', None), (nn.Identity, type(None))
        )
    )
