"""Facts on which the choice of a backend may depend."""

import math
from typing import NamedTuple, Tuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Types of devices for which the operator has kernels.
DEVICES = ('cpu', 'cuda')
DIRECTIONS = ('forward', 'grad_input', 'grad_weight')


class Problem(NamedTuple):
    """One call of the operator, without its values.

    Attributes:
        device: Type of the device.
        dtype: Type that the operator computes with.
        shape: (N, C, H, W) of the input.
        kernel: (Kh, Kw).
        channels_last: The input is channels_last and not contiguous.
        grad_input: The input's gradient is needed.
        grad_weight: The weight's gradient is needed.
        tf32: PyTorch may round float32 to TF32 in convolutions (CUDA).
    """

    device: str
    dtype: torch.dtype
    shape: Tuple[int, int, int, int]
    kernel: Tuple[int, int]
    channels_last: bool
    grad_input: bool = False
    grad_weight: bool = False
    tf32: bool = False

    @classmethod
    def of(
        cls,
        x: Tensor,
        weight: Tensor,
        grad_input: bool = False,
        grad_weight: bool = False,
    ) -> 'Problem':
        """The problem of two tensors (N, C, H, W) and (C, 1, Kh, Kw)."""
        return cls(
            x.device.type,
            x.dtype,
            tuple(x.shape),
            tuple(weight.shape[2:]),
            is_channels_last(x),
            grad_input,
            grad_weight,
            uses_tf32(x.device.type, x.dtype),
        )

    @property
    def elements(self) -> int:
        """Number of elements of the input, which is that of the output."""
        return math.prod(self.shape)

    @property
    def needed(self) -> Tuple[bool, bool, bool]:
        """The :data:`DIRECTIONS` to compute."""
        return True, self.grad_input, self.grad_weight

    @property
    def layout(self) -> str:
        """'nhwc' or 'nchw'."""
        return 'nhwc' if self.channels_last else 'nchw'


def uses_tf32(device: str, dtype: torch.dtype) -> bool:
    """Whether PyTorch's convolutions would use TF32 for these tensors."""
    if device != 'cuda' or dtype != torch.float32:
        return False
    # since torch 2.9 convolutions have their own setting
    conv = getattr(torch.backends.cudnn, 'conv', None)
    setting = getattr(conv, 'fp32_precision', None)
    if setting is None:
        return torch.backends.cudnn.allow_tf32
    return setting == 'tf32'


def is_channels_last(x: Tensor) -> bool:
    """Whether the output for ``x`` must be channels_last."""
    return not x.is_contiguous() and x.is_contiguous(
        memory_format=torch.channels_last
    )


def memory_format_of(x: Tensor) -> torch.memory_format:
    """The layout that the output for ``x`` must have."""
    if is_channels_last(x):
        return torch.channels_last
    return torch.contiguous_format
