"""Depth-wise convolution by ATen, in the form that is fast for the shape.

oneDNN's forward for contiguous tensors collapses at large kernels, but its
primitive for the input gradient does not. A convolution with the flipped
kernel is that gradient, so either can compute the forward.
"""

from functools import lru_cache
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..problem import Problem, memory_format_of
from .base import REQUIRED_GAIN, Backend, Counts, Gradients, new_elements

# Kernel widths up to which an algorithm has the same speed.
REGIMES = (3, 9, 13)
# Millions of elements above which a conversion no longer fits in the cache.
CACHED = 2.0
# 'transposed_nhwc' needs a larger gain than the others where its estimates are
# worse: the one for the weight gradient is off by up to a factor of three, and
# a forward with a kernel up to this width takes 0.71 of the time at best.
DOUBTFUL_GAIN = 0.8
DOUBTFUL_WIDTH = 9


class Native(Backend):
    """ATen; an algorithm is a form and the layout to compute in.

    The form is 'direct', the convolution itself, or 'transposed', the input
    gradient of the flipped kernel.
    """

    name = 'native'
    algorithms = (
        'direct_nchw',
        'direct_nhwc',
        'transposed_nchw',
        'transposed_nhwc',
    )

    def why_not(self, device: str, dtype: torch.dtype) -> Optional[str]:
        """It can always run."""
        return None

    def algorithms_for(self, device: str, direction: str) -> Tuple[str, ...]:
        direct, transposed = self.algorithms[:2], self.algorithms[2:]
        if direction == 'grad_weight':
            return transposed
        if device == 'cuda':
            return direct if direction == 'forward' else transposed
        return self.algorithms

    def features(
        self, problem: Problem, direction: str, algorithm: str
    ) -> Counts:
        channels, height, width = problem.shape[1:]
        kernel_h, kernel_w = problem.kernel
        form, _, layout = algorithm.partition('_')
        # the input gradient in either form is a forward with a flipped kernel
        kind = 'grad_weight' if direction == 'grad_weight' else 'forward'
        if problem.device == 'cuda':
            kind = direction
        regime = sum(kernel_w > limit for limit in REGIMES)
        if problem.dtype == torch.float64:
            # oneDNN is not used here, so its regimes do not apply
            regime = 0
        elements = problem.elements / 1e6
        taps = mean_taps(height, kernel_h) * mean_taps(width, kernel_w)
        converted = 2 * elements * (layout != problem.layout)
        return f'{kind}/{form}_{layout}/{regime}', (
            1.0,
            elements,
            elements * taps,
            elements * kernel_h * kernel_w,
            elements * taps / max(width, 1),
            channels * kernel_h * kernel_w / 1e6,
            converted,
            converted * (elements > CACHED),
            new_elements(problem),
        )

    def required_gain(
        self, problem: Problem, direction: str, algorithm: str
    ) -> float:
        if algorithm == own_algorithm(problem, direction):
            return 0.0
        if algorithm == 'transposed_nhwc' and (
            direction == 'grad_weight'
            or (direction == 'forward' and problem.kernel[1] <= DOUBTFUL_WIDTH)
        ):
            return DOUBTFUL_GAIN
        return REQUIRED_GAIN

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        relu: bool,
        algorithm: str,
        reuse: str,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        form, _, layout = algorithm.partition('_')
        y, taps = _prepare(x, layout), weight.to(_compute_dtype_of(x))
        if form == 'direct':
            shift = None if bias is None else bias.to(taps.dtype)
            y = _conv(y, taps, shift)
        else:
            y = _conv_backward(y, y, taps.flip(-2, -1), (True, False))[0]
            if bias is not None:
                y += bias.view(-1, 1, 1)
        out = _like(y, x)
        if relu:
            out.relu_()
        return out, *self.empty_kept(x, weight)

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        grad_input_by: Optional[str],
        grad_weight_by: Optional[str],
        kept_input: Optional[Tensor],
        kept_weight: Optional[Tensor],
    ) -> Gradients:
        grad_x = grad_w = None
        if grad_input_by is not None:
            grad_x = _input_gradient(grad, x, weight, grad_input_by)
        if grad_weight_by is not None:
            grad_w = _weight_gradient(grad, x, weight, grad_weight_by)
        return grad_x, grad_w


BACKEND = Native()


def own_algorithm(problem: Problem, direction: str) -> str:
    """The algorithm with which nn.Conv2d computes a direction."""
    form = 'direct' if direction == 'forward' else 'transposed'
    return f'{form}_{problem.layout}'


def is_conv2d(
    problem: Problem, direction: str, algorithm: Optional[str]
) -> bool:
    """Whether nn.Conv2d does exactly the same in a direction."""
    dtype = compute_dtype(problem.device, problem.dtype)
    return dtype == problem.dtype and algorithm in (
        None,
        own_algorithm(problem, direction),
    )


@lru_cache(maxsize=4096)
def mean_taps(size: int, kernel: int) -> float:
    """Mean number of taps of one axis that fall on the map."""
    r = kernel // 2
    inside = sum(min(i, r) + min(size - 1 - i, r) + 1 for i in range(size))
    return inside / max(size, 1)


def _input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, algorithm: str
) -> Tensor:
    """Input gradient (N, C, H, W)."""
    form, _, layout = algorithm.partition('_')
    y, taps = _prepare(grad, layout), weight.to(_compute_dtype_of(x))
    if form == 'direct':
        return _like(_conv(y, taps.flip(-2, -1), None), x)
    return _like(_conv_backward(y, y, taps, (True, False))[0], x)


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, algorithm: str
) -> Tensor:
    """Weight gradient (C, 1, Kh, Kw) with a 'transposed' algorithm."""
    layout = algorithm.rpartition('_')[2]
    y, x = _prepare(grad, layout), _prepare(x, layout)
    taps = weight.to(x.dtype)
    return _conv_backward(y, x, taps, (False, True))[1].to(weight.dtype)


def compute_dtype(device: str, dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision on a CPU: ATen has no fast code for it."""
    if device == 'cpu' and dtype in (torch.float16, torch.bfloat16):
        return torch.float32
    return dtype


def _compute_dtype_of(x: Tensor) -> torch.dtype:
    return compute_dtype(x.device.type, x.dtype)


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
    return _copied(x, _compute_dtype_of(x), memory_format)


def _like(y: Tensor, x: Tensor) -> Tensor:
    return _copied(y, x.dtype, memory_format_of(x))


def _copied(
    x: Tensor, dtype: torch.dtype, memory_format: torch.memory_format
) -> Tensor:
    """A tensor in a type and a layout, read and written once."""
    if x.dtype == dtype:
        return x.contiguous(memory_format=memory_format)
    return x.to(dtype, memory_format=memory_format)
