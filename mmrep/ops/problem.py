"""What the choice of a backend may depend on."""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor


class Problem(NamedTuple):
    """One call of the operator, without its values.

    Attributes:
        device: Type of the device.
        dtype: Type that the operator computes with.
        shape: (N, C, H, W) of the input.
        kernel: (Kh, Kw).
        channels_last: The input is channels_last and not contiguous.
        grad_input: The input's gradient will be needed.
        grad_weight: The weight's gradient will be needed.
    """

    device: str
    dtype: torch.dtype
    shape: Tuple[int, int, int, int]
    kernel: Tuple[int, int]
    channels_last: bool
    grad_input: bool = False
    grad_weight: bool = False


def is_channels_last(x: Tensor) -> bool:
    """Whether the output for ``x`` must be channels_last."""
    return not x.is_contiguous() and x.is_contiguous(
        memory_format=torch.channels_last
    )


def memory_format_of(x: Tensor) -> torch.memory_format:
    """The layout that the output for ``x`` must have."""
    return (
        torch.channels_last if is_channels_last(x) else torch.contiguous_format
    )
