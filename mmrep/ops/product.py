"""The neighbourhood product on a GPU, with Triton.

A kernel per position (N, heads, H, W, K * K) times the values (N, heads, H,
W, C) in its window, which is centred and shifted inside at a border. The
plain form is ``mmrep.models.layers.neighbourhood_product``. Only inputs and
outputs are kept in memory. No GPU has been measured.
"""

import logging
from functools import lru_cache
from typing import List, Tuple

import torch
from torch import Tensor

from .backends import triton
from .backends.base import first_line

LOGGER = logging.getLogger(__name__)
BLOCK = 32  # positions per program
CHANNELS = 64  # most channels per program
# The error with which the kernels failed in this process, if they did.
_FAILURE: List[str] = []


def takes(value: Tensor) -> bool:
    """Whether the kernels can run on these values."""
    return (
        value.is_cuda
        and not _FAILURE
        and triton.why_not('cuda', value.dtype) is None
    )


def give_up(error: Exception) -> None:
    """Stop using the kernels if they caused the error.

    Raises:
        Exception: The error itself, if memory ran out or no compiler raised
            it.
    """
    if isinstance(error, torch.OutOfMemoryError) or not isinstance(
        error, triton.failures()
    ):
        raise error
    _FAILURE.append(first_line(error))
    LOGGER.warning(
        'the Triton kernels of the neighbourhood product do not run here; '
        'matrix products are used instead (%s)',
        _FAILURE[0],
    )


def forward(weights: Tensor, value: Tensor, size: int) -> Tensor:
    """Weighted sum of the values in each window.

    Args:
        weights: Shape (N, heads, H, W, K * K), of the type of ``value``.
        value: Shape (N, heads, H, W, C); H and W are K or more.
        size: K, odd.

    Returns:
        Tensor: Shape (N, heads, H, W, C), contiguous.
    """
    out = value.new_empty(value.shape)
    block = _channels(value)
    _start(
        'product_kernel',
        value,
        (weights.contiguous(), value, out),
        (size, *value.stride()),
        block,
        -(-value.size(-1) // block),
    )
    return out


def grad_weights(grad: Tensor, value: Tensor, size: int) -> Tensor:
    """Gradient of the weights.

    Args:
        grad: Gradient of the output, shape (N, heads, H, W, C).
        value: As in :func:`forward`.
        size: K, odd.

    Returns:
        Tensor: Shape (N, heads, H, W, K * K), contiguous.
    """
    out = value.new_empty(*value.shape[:-1], size * size)
    _start(
        'weight_gradient_kernel',
        value,
        (grad.contiguous(), value, out),
        (size, *value.stride()),
        _power(value.size(-1)),
        1,
    )
    return out


def grad_value(grad: Tensor, weights: Tensor, size: int) -> Tensor:
    """Gradient of the values.

    Args:
        grad: Gradient of the output, shape (N, heads, H, W, C).
        weights: As in :func:`forward`.
        size: K, odd.

    Returns:
        Tensor: Shape (N, heads, H, W, C), contiguous.
    """
    out = grad.new_empty(grad.shape)
    # positions whose windows contain one place: at a border K // 2 more
    reach = (
        extent if extent < 2 * size else size + size // 2
        for extent in grad.shape[2:4]
    )
    block = _channels(grad)
    _start(
        'value_gradient_kernel',
        grad,
        (grad.contiguous(), weights.contiguous(), out),
        (size, *reach),
        block,
        -(-grad.size(-1) // block),
    )
    return out


def _power(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


def _channels(value: Tensor) -> int:
    return min(CHANNELS, _power(value.size(-1)))


def _start(
    name: str,
    value: Tensor,
    tensors: Tuple[Tensor, ...],
    sizes: Tuple[int, ...],
    block: int,
    blocks: int,
) -> None:
    n, heads, height, width, channels = value.shape
    if value.numel() == 0:
        return
    grid = (-(-height * width // BLOCK), n * heads, blocks)
    # Triton starts kernels on the current device, not on the tensors'
    with torch.cuda.device_of(value):
        getattr(_kernels(), name)[grid](
            *tensors,
            heads,
            height,
            width,
            channels,
            *sizes,
            BLOCK=BLOCK,
            CHANNELS=block,
        )


@lru_cache(maxsize=None)
def _kernels():
    from . import product_kernels

    return product_kernels
