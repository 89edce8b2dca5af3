"""Depth-wise convolution by ATen, in the form that is fast for the shape.

oneDNN's forward for contiguous tensors collapses at large kernels, its
primitive for the input gradient does not. A convolution with the flipped
kernel is that gradient, so either can compute the forward.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ..problem import memory_format_of


def why_not(device: str, dtype: torch.dtype) -> Optional[str]:
    """Why this backend cannot run: it always can."""
    return None


def forward(
    x: Tensor, weight: Tensor, bias: Optional[Tensor], algorithm: str
) -> Tensor:
    """Convolution by one of ATen's algorithms.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,).
        algorithm: 'direct' (the convolution) or 'transposed' (the input
            gradient of the flipped kernel), with '_nchw' or '_nhwc' for
            the layout to compute in.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    form, _, layout = algorithm.partition('_')
    y, taps = _prepare(x, layout), weight.to(compute_dtype(x))
    if form == 'direct':
        shift = None if bias is None else bias.to(taps.dtype)
        y = _conv(y, taps, shift)
    else:
        y = _conv_backward(y, y, taps.flip(-2, -1), (True, False))[0]
        if bias is not None:
            y += bias.view(-1, 1, 1)
    return _like(y, x)


def grad_input(
    grad: Tensor, x: Tensor, weight: Tensor, algorithm: str
) -> Tensor:
    """Input gradient (N, C, H, W); the arguments are those of forward."""
    form, _, layout = algorithm.partition('_')
    y, taps = _prepare(grad, layout), weight.to(compute_dtype(x))
    if form == 'direct':
        return _like(_conv(y, taps.flip(-2, -1), None), x)
    return _like(_conv_backward(y, y, taps, (True, False))[0], x)


def grad_weight(
    grad: Tensor, x: Tensor, weight: Tensor, algorithm: str
) -> Tensor:
    """Weight gradient (C, 1, Kh, Kw) by a 'transposed' algorithm."""
    layout = algorithm.rpartition('_')[2]
    y, x = _prepare(grad, layout), _prepare(x, layout)
    taps = weight.to(x.dtype)
    return _conv_backward(y, x, taps, (False, True))[1].to(weight.dtype)


def compute_dtype(x: Tensor) -> torch.dtype:
    """float32 for half precision on a CPU: ATen has no fast code for it."""
    if x.device.type == 'cpu' and x.dtype in (torch.float16, torch.bfloat16):
        return torch.float32
    return x.dtype


def _conv(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    padding = weight.size(-2) // 2, weight.size(-1) // 2
    return F.conv2d(x, weight, bias, padding=padding, groups=x.size(1))


def _conv_backward(grad, x, weight, mask):
    padding = [weight.size(-2) // 2, weight.size(-1) // 2]
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        [1, 1],
        padding,
        [1, 1],
        False,
        [0, 0],
        x.size(1),
        [*mask, False],
    )[:2]


def _prepare(x: Tensor, layout: str) -> Tensor:
    """The tensor in the layout and the type to compute in."""
    memory_format = (
        torch.channels_last if layout == 'nhwc' else torch.contiguous_format
    )
    return x.to(compute_dtype(x)).contiguous(memory_format=memory_format)


def _like(y: Tensor, x: Tensor) -> Tensor:
    return y.to(x.dtype).contiguous(memory_format=memory_format_of(x))
