"""Depth-wise convolution by ATen, in the form that is fast for the shape.

oneDNN's forward for contiguous tensors collapses at large kernels, its
primitive for the input gradient does not. A convolution with the flipped
kernel is that gradient, so either can compute the forward.
"""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..problem import memory_format_of


def forward(
    x: Tensor, weight: Tensor, bias: Optional[Tensor], algorithm: str
) -> Tensor:
    """Convolution by one of ATen's algorithms.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,).
        algorithm: 'direct' (the convolution), 'transposed' (the input
            gradient of the flipped kernel), or either with '_nchw' or
            '_nhwc' for the layout to compute in.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    form, _, layout = algorithm.partition('_')
    y = _in_layout(x, layout)
    if form == 'direct':
        y = _conv(y, weight, bias)
    else:
        y = _conv_backward(y, y, weight.flip(-2, -1), (True, False))[0]
        if bias is not None:
            y += bias.view(-1, 1, 1)
    return _like(y, x)


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    need_input: bool,
    need_weight: bool,
    algorithm: str,
) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Gradients of the input and the weight; arguments as in forward."""
    form, _, layout = algorithm.partition('_')
    y = _in_layout(grad, layout)
    if form == 'direct':
        if need_weight:
            raise ValueError('the direct form gives no weight gradient')
        return _like(_conv(y, weight.flip(-2, -1), None), x), None
    grad_x, grad_w = _conv_backward(
        y, _in_layout(x, layout), weight, (need_input, need_weight)
    )
    if need_input:
        grad_x = _like(grad_x, x)
    return grad_x, grad_w


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


def _in_layout(x: Tensor, layout: str) -> Tensor:
    if layout == 'nchw':
        return x.contiguous()
    if layout == 'nhwc':
        return x.contiguous(memory_format=torch.channels_last)
    return x


def _like(y: Tensor, x: Tensor) -> Tensor:
    return y.contiguous(memory_format=memory_format_of(x))
