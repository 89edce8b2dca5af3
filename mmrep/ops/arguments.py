"""Checks of the operator's arguments."""

from typing import Optional

import torch
from torch import Tensor

from .problem import DTYPES


def autocast_dtype(x: Tensor) -> Optional[torch.dtype]:
    """The type that autocast turns ``x`` into, or None if it is off.

    As for F.conv2d, double stays double.
    """
    # some devices (meta) have no autocast
    device = 'cpu' if x.is_cpu else x.device.type
    if device != 'cpu' and not torch.amp.is_autocast_available(device):
        return None
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def check(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> None:
    """Raise an error if the operator does not accept the arguments."""
    if x.dim() != 4:
        raise ValueError(
            f'x must have shape (N, C, H, W), got {tuple(x.shape)}.'
        )
    channels, height, width = x.shape[1:]
    if not (channels and height and width):
        raise ValueError(
            f'channels, height and width of x must be at least 1, '
            f'got shape {tuple(x.shape)}.'
        )
    if weight.dim() != 4 or tuple(weight.shape[:2]) != (channels, 1):
        raise ValueError(
            f'weight must have shape ({channels}, 1, Kh, Kw), '
            f'got {tuple(weight.shape)}.'
        )
    kernel_h, kernel_w = weight.shape[2:]
    if kernel_h % 2 == 0 or kernel_w % 2 == 0:
        raise ValueError(
            f'kernel size must be odd, got {(kernel_h, kernel_w)}.'
        )
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(
            f'bias must have shape ({channels},), got {tuple(bias.shape)}.'
        )
    if x.dtype not in DTYPES:
        raise TypeError(
            f'x must have one of the types {DTYPES}, got {x.dtype}.'
        )
    autocast = autocast_dtype(x) is not None
    for name, other in (('weight', weight), ('bias', bias)):
        if other is None:
            continue
        if other.device != x.device:
            raise ValueError(
                f'{name} must be on {x.device} like x, got {other.device}.'
            )
        # autocast casts all types except double
        if other.dtype != x.dtype and not (
            autocast and other.dtype != torch.float64
        ):
            raise TypeError(
                f'{name} must be {x.dtype} like x, got {other.dtype}.'
            )
