"""What the operator takes, and what it says to the rest."""

from typing import Optional, Tuple

import torch
from torch import Tensor

from .problem import DTYPES

Facts = Tuple[Tuple[int, ...], torch.dtype, torch.device]


def _facts(tensor: Tensor) -> Facts:
    return tensor.shape, tensor.dtype, tensor.device


def is_autocast(device: str) -> bool:
    """Whether autocast is on; some devices (meta) do not know of it."""
    return (
        device == 'cpu' or torch.amp.is_autocast_available(device)
    ) and torch.is_autocast_enabled(device)


def check(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> None:
    """Raise unless the arguments are ones that the operator takes."""
    check_facts(
        _facts(x),
        _facts(weight),
        None if bias is None else _facts(bias),
        is_autocast(x.device.type) and x.dtype != torch.float64,
    )


def check_facts(
    x: Facts, weight: Facts, bias: Optional[Facts], autocast: bool
) -> None:
    """Raise unless shapes, types and devices fit together."""
    shape, dtype, device = x
    if len(shape) != 4:
        raise ValueError(
            f'x must have shape (N, C, H, W), got {tuple(shape)}.'
        )
    channels, height, width = shape[1:]
    if not (channels and height and width):
        raise ValueError(
            f'channels, height and width of x must be at least 1, '
            f'got shape {tuple(shape)}.'
        )
    if len(weight[0]) != 4 or tuple(weight[0][:2]) != (channels, 1):
        raise ValueError(
            f'weight must have shape ({channels}, 1, Kh, Kw), '
            f'got {tuple(weight[0])}.'
        )
    if weight[0][2] % 2 == 0 or weight[0][3] % 2 == 0:
        raise ValueError(
            f'kernel size must be odd, got {tuple(weight[0][2:])}.'
        )
    if bias is not None and tuple(bias[0]) != (channels,):
        raise ValueError(
            f'bias must have shape ({channels},), got {tuple(bias[0])}.'
        )
    if dtype not in DTYPES:
        raise TypeError(f'x must be one of {DTYPES}, got {dtype}.')
    for name, other in (('weight', weight), ('bias', bias)):
        if other is None:
            continue
        if other[2] != device:
            raise ValueError(
                f'{name} must be on {device} as x is, got {other[2]}.'
            )
        # autocast casts all but double
        if other[1] != dtype and not (
            autocast and torch.float64 not in (other[1], dtype)
        ):
            raise TypeError(f'{name} must be {dtype} as x is, got {other[1]}.')
