"""The public function: check, choose, call."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from . import library  # noqa: F401, registers the operators
from .dispatch import check_backend, choose, resolve
from .problem import Problem, is_channels_last

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    backend: str = 'auto',
) -> Tensor:
    """Depth-wise convolution with stride 1 and 'same' zero padding.

    Equal to ``F.conv2d(x, weight, bias, padding=(Kh // 2, Kw // 2),
    groups=C)``.

    Args:
        x: Shape (N, C, H, W), contiguous or channels_last.
        weight: Shape (C, 1, Kh, Kw) with odd Kh and Kw.
        bias: Shape (C,). Defaults to None.
        backend: 'auto', 'native' or 'fft'. Defaults to 'auto'.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    check(x, weight, bias)
    check_backend(backend)
    if _is_exporting():
        return native_conv2d(x, weight, bias)
    if torch.compiler.is_compiling():
        return torch.ops.mmrep.depthwise_conv2d(
            x, weight, bias, backend, False
        )[0]
    device = x.device.type
    dtype = x.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    grad = torch.is_grad_enabled()
    plan = choose(
        Problem(
            device,
            dtype,
            tuple(x.shape),
            tuple(weight.shape[2:]),
            is_channels_last(x),
            grad and x.requires_grad,
            grad and weight.requires_grad,
        ),
        resolve(backend),
    )
    if plan.plain:
        return native_conv2d(x, weight, bias)
    return torch.ops.mmrep.depthwise_conv2d(
        x, weight, bias, resolve(backend), plan.keep
    )[0]


def _is_exporting() -> bool:
    """Whether the graph is for use elsewhere: it gets a plain convolution."""
    return (
        torch.onnx.is_in_onnx_export()
        or torch.jit.is_tracing()
        or getattr(torch.compiler, 'is_exporting', bool)()
    )


def native_conv2d(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """PyTorch's own convolution of the same arguments."""
    padding = weight.size(-2) // 2, weight.size(-1) // 2
    return F.conv2d(x, weight, bias, padding=padding, groups=x.size(1))


def check(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> None:
    """Raise unless the arguments are ones that the operator takes."""
    if x.dim() != 4:
        raise ValueError(
            f'x must have shape (N, C, H, W), got {tuple(x.shape)}.'
        )
    channels = x.size(1)
    if weight.dim() != 4 or weight.shape[:2] != (channels, 1):
        raise ValueError(
            f'weight must have shape ({channels}, 1, Kh, Kw), '
            f'got {tuple(weight.shape)}.'
        )
    if weight.size(2) % 2 == 0 or weight.size(3) % 2 == 0:
        raise ValueError(
            f'kernel size must be odd, got {tuple(weight.shape[2:])}.'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f'bias must have shape ({channels},), got {tuple(bias.shape)}.'
        )
    others = (weight,) if bias is None else (weight, bias)
    for name, other in zip(('weight', 'bias'), others, strict=False):
        if other.device != x.device:
            raise ValueError(
                f'{name} must be on {x.device} as x is, got {other.device}.'
            )
        if other.dtype != x.dtype and not torch.is_autocast_enabled(
            x.device.type
        ):
            raise TypeError(
                f'{name} must be {x.dtype} as x is, got {other.dtype}.'
            )
    if x.dtype not in DTYPES:
        raise TypeError(f'x must be one of {DTYPES}, got {x.dtype}.')
