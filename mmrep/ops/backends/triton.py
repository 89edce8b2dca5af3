"""Depth-wise convolution on the tensor cores, by the Triton kernels.

This module imports without Triton; see triton_kernels.py for the method.
The sums run in one fixed order, so results are deterministic.
"""

import importlib.util
import logging
from functools import lru_cache, partial, wraps
from subprocess import CalledProcessError
from typing import Callable, Dict, List, Optional, Tuple, Type

import torch
from torch import Tensor

from ..problem import Problem, memory_format_of, uses_tf32
from ..timing import time_in_turn
from .base import Backend, Counts, Gradients, first_line
from .triton_tiles import (
    UNIT,
    Config,
    block_of,
    candidates,
    next_power,
    step_of,
    windows,
)

LOGGER = logging.getLogger(__name__)
# Why the kernels failed in this process, if they did.
_FAILURE: List[str] = []
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# No GPU has been measured. Until coefficients.py has those of one, 'auto' uses
# these kernels from this many taps on, as many as a 9x9 kernel has: ATen has
# no special code for kernels above 5x5.
UNMEASURED_TAPS = 81
# A grid has one program per channel along its second axis, and CUDA allows no
# more than this.
MOST_CHANNELS = 65535


class Triton(Backend):
    """An implicit GEMM."""

    name = 'triton'
    algorithms = ('triton',)

    def why_not(self, device: str, dtype: torch.dtype) -> Optional[str]:
        return why_not(device, dtype)

    def features(
        self, problem: Problem, direction: str, algorithm: str
    ) -> Counts:
        kernel_h, kernel_w = problem.kernel
        elements = problem.elements / 1e6
        banded = -(-(16 + kernel_w - 1) // 16) * 16
        return f'{kind_of(direction)}/triton', (
            1.0,
            elements,
            elements * kernel_h * banded,
        )

    def is_preferred_unmeasured(self, problem: Problem) -> bool:
        kernel_h, kernel_w = problem.kernel
        return (
            problem.device == 'cuda' and kernel_h * kernel_w >= UNMEASURED_TAPS
        )

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        relu: bool,
        algorithm: str,
        reuse: str,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        out = forward(x, weight, bias, relu)
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
            grad_x = grad_input(grad, x, weight)
        if grad_weight_by is not None:
            grad_w = grad_weight(grad, x, weight)
        return grad_x, grad_w

    def tune(
        self,
        problem: Problem,
        direction: str,
        x: Tensor,
        weight: Tensor,
        grad: Tensor,
    ) -> None:
        def run(config: Config) -> None:
            if direction == 'forward':
                forward(x, weight, config=config)
            elif direction == 'grad_input':
                grad_input(grad, x, weight, config)
            else:
                grad_weight(grad, x, weight, config)

        def milliseconds(config: Config) -> float:
            runs = {config: partial(run, config)}
            return time_in_turn(runs, problem.device, 0.02)[config]

        tune(problem, direction, milliseconds)

    def failures(self) -> Tuple[Type[Exception], ...]:
        return failures()

    def give_up(self, error: Exception) -> None:
        give_up(error)


BACKEND = Triton()


def why_not(device: str, dtype: torch.dtype) -> Optional[str]:
    """Why this backend cannot run, or None."""
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed (pip install triton)'
    if _FAILURE:
        return f'it failed earlier: {_FAILURE[0]}'
    if dtype not in DTYPES:
        return f'it computes in {DTYPES}, not in {dtype}'
    if device == 'cpu':
        if not interpreted():
            return 'it needs a CUDA device'
    elif device != 'cuda':
        return f'it runs on cuda, not on {device}'
    elif torch.version.hip:
        return 'it has not been tested on ROCm'
    elif torch.cuda.get_device_capability() < (8, 0):
        return 'it needs compute capability 8.0 or later'
    return None


def give_up(error: Exception) -> None:
    """Stop using the kernels, with one warning."""
    if not _FAILURE:
        _FAILURE.append(first_line(error))
        LOGGER.warning(
            'the Triton kernels do not run here; other backends take over '
            '(%s)',
            _FAILURE[0],
        )


def failures() -> Tuple[Type[Exception], ...]:
    """Errors of a kernel that does not compile or start."""
    from triton.errors import TritonError

    # Triton also runs a C compiler, and writes to a folder
    return TritonError, RuntimeError, CalledProcessError, OSError


def interpreted() -> bool:
    """Whether Triton was imported in interpreter mode."""
    return type(_kernels().conv_kernel).__name__ == 'InterpretedFunction'


@lru_cache(maxsize=None)
def _kernels():
    from . import triton_kernels

    return triton_kernels


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    relu: bool = False,
    config: Optional[Config] = None,
) -> Tensor:
    """Convolution, with bias and ReLU in the same kernel.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,). Defaults to None.
        relu: Apply ReLU to the output. Defaults to False.
        config: Shape of the tiles. Defaults to the tuned one if this problem
            was tuned, otherwise to a reasonable one.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    return _convolve(x, weight, bias, relu, False, config)


def grad_input(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    config: Optional[Config] = None,
) -> Tensor:
    """Input gradient: the convolution with the flipped kernel.

    Args:
        grad: Gradient of the output, shape (N, C, H, W).
        x: Input of the forward; the result has its layout.
        weight: Shape (C, 1, Kh, Kw).
        config: As in :func:`forward`. Defaults to None.

    Returns:
        Tensor: Shape (N, C, H, W).
    """
    out = _convolve(grad, weight, None, False, True, config)
    return out.contiguous(memory_format=memory_format_of(x))


def _on_its_device(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Triton starts kernels on the current device, not on the tensors'."""

    @wraps(run)
    def call(x, *args, **kwargs):
        with torch.cuda.device_of(x):
            return run(x, *args, **kwargs)

    return call


@_on_its_device
def _convolve(x, weight, bias, relu, flip, config) -> Tensor:
    n, c, h, w = x.shape
    if x.numel() == 0:
        return torch.empty_like(x, memory_format=memory_format_of(x))
    if c > MOST_CHANNELS:
        parts = [
            _convolve(
                x[:, part],
                weight[part],
                None if bias is None else bias[part],
                relu,
                flip,
                config,
            )
            for part in _parts(c)
        ]
        return torch.cat(parts, 1).contiguous(
            memory_format=memory_format_of(x)
        )
    config = config or config_for(Problem.of(x, weight), 'forward')
    source = _rows(x)
    y = x.new_empty((n, c, h, source.size(3)))
    taps = reachable(weight, (h, w)).contiguous()
    kh, kw = taps.shape[2:]
    rows, cols = windows((h, w), (kh, kw), config)
    step = step_of(cols.reach, config.depth)
    rows_in = -(-rows.reach // step[0]) * step[0]
    slots = rows_in + rows.tile - 1
    size = cols.reach * slots * cols.tile
    table = torch.empty((c, size), dtype=x.dtype, device=x.device)
    # the tensor cores take fp32 only with the inner dimension contiguous
    inner = x.dtype == torch.float32
    block = 1024
    _kernels().table_kernel[(-(-size // block), c)](
        taps,
        table,
        kh,
        kw,
        rows_in,
        rows.shift,
        cols.shift,
        slots,
        J=cols.reach,
        T=cols.tile,
        FLIP=flip,
        INNER=inner,
        BLOCK=block,
    )
    patches = n * rows.tiles * cols.tiles
    _kernels().conv_kernel[(-(-patches // config.patches), c)](
        source,
        table,
        table if bias is None else bias.contiguous(),
        y,
        h,
        source.size(3) // UNIT,
        *(stride // UNIT for stride in source.stride()[:3]),
        n,
        cols.tiles,
        patches,
        rows_in,
        rows.offset,
        slots,
        UNIT=UNIT,
        INNER=inner,
        LEFT=cols.offset,
        J=cols.reach,
        T=cols.tile,
        RO=rows.tile,
        BM=config.patches,
        DI=step[0],
        DJ=step[1],
        HAS_BIAS=bias is not None,
        RELU=relu,
        PRECISION=precision(x),
        UPCAST=interpreted(),
        num_warps=config.warps,
        num_stages=config.stages,
    )
    return y[..., :w].contiguous(memory_format=memory_format_of(x))


@_on_its_device
def grad_weight(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    config: Optional[Config] = None,
) -> Tensor:
    """Weight gradient.

    Args:
        grad: Gradient of the output, shape (N, C, H, W).
        x: Input of the forward, shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        config: As in :func:`forward`. Defaults to None.

    Returns:
        Tensor: Shape (C, 1, Kh, Kw).
    """
    n, c, h, w = x.shape
    if c > MOST_CHANNELS:
        parts = [
            grad_weight(grad[:, part], x[:, part], weight[part], config)
            for part in _parts(c)
        ]
        return torch.cat(parts)
    result = torch.zeros_like(weight)
    if x.numel() == 0:
        return result
    config = config or config_for(Problem.of(x, weight), 'grad_weight')
    taps = reachable(result, (h, w))
    kh, kw = taps.shape[2:]
    rows, cols = windows((h, w), (kh, kw), config)
    images, across = block_of(n, rows.tiles, cols.tiles, config.patches)
    blocks = -(-rows.reach * cols.reach // config.depth)
    steps = -(-n * rows.tiles * cols.tiles // config.patches)
    # enough programs for a large GPU, each with some work
    splits = max(1, min(512 // (blocks * c), steps // 8))
    partial = torch.empty(
        (c, splits, rows.reach * cols.reach, rows.tile * cols.tile),
        dtype=torch.float32,
        device=x.device,
    )
    source, grad = _rows(x), _rows(grad)
    # for the tensor cores, fp32 is transposed element by element on the way to
    # the shared memory: neighbours then belong to different threads
    unit = 1 if precision(x) == 'tf32' else UNIT
    _kernels().correlation_kernel[(blocks, c, splits)](
        source,
        grad,
        partial,
        h,
        source.size(3) // unit,
        *(stride // unit for stride in source.stride()[:3]),
        *(stride // unit for stride in grad.stride()[:3]),
        n,
        rows.reach,
        rows.offset,
        UNIT=unit,
        LEFT=cols.offset,
        J=cols.reach,
        T=cols.tile,
        RO=rows.tile,
        BK=config.depth,
        BM=config.patches,
        BN=images,
        BW=across,
        PRECISION=precision(x),
        UPCAST=interpreted(),
        num_warps=config.warps,
        num_stages=config.stages,
    )
    total = torch.empty((c, 1, kh, kw), dtype=weight.dtype, device=x.device)
    _kernels().diagonal_kernel[(kh, c)](
        partial,
        total,
        kh,
        kw,
        splits,
        rows.reach,
        rows.shift,
        cols.shift,
        J=cols.reach,
        T=cols.tile,
        RO=rows.tile,
        BLOCK=next_power(kw),
    )
    taps.copy_(total)
    return result


def _parts(channels: int) -> List[slice]:
    """Parts of the channels that one grid can hold."""
    return [
        slice(begin, begin + MOST_CHANNELS)
        for begin in range(0, channels, MOST_CHANNELS)
    ]


def reachable(weight: Tensor, size: Tuple[int, int]) -> Tensor:
    """View of the taps that can reach a map of ``size``."""
    for axis, length in enumerate(size, start=2):
        taps = min(weight.size(axis), 2 * length - 1)
        weight = weight.narrow(axis, (weight.size(axis) - taps) // 2, taps)
    return weight


def _rows(x: Tensor) -> Tensor:
    """The tensor with rows of whole, aligned units.

    Padding on the right adds only what the convolution sees there anyway.
    """
    n, c, h, w = x.shape
    # offsets within a plane are 32 bits wide
    near = 2 * (h + 16) * x.stride(2) < 2**31
    whole = not any(size % UNIT for size in (w, *x.stride()[:3]))
    if x.stride(3) == 1 and near and whole and x.data_ptr() % 16 == 0:
        return x
    out = x.new_zeros((n, c, h, -(-w // UNIT) * UNIT))
    out[..., :w] = x
    return out


def precision(x: Tensor) -> str:
    """'tf32' if PyTorch's convolutions would use it, else 'ieee'."""
    return 'tf32' if uses_tf32(x.device.type, x.dtype) else 'ieee'


def kind_of(direction: str) -> str:
    """The input gradient is a forward with the kernel flipped."""
    return 'grad_weight' if direction == 'grad_weight' else 'forward'


_TUNED: Dict[Tuple[Problem, str], Config] = {}


def config_for(problem: Problem, direction: str) -> Config:
    """The tuned configuration of a problem, or a reasonable one."""
    kind = kind_of(direction)
    key = _key(problem), kind
    return _TUNED.get(key) or candidates(problem, kind)[0]


def tune(
    problem: Problem, direction: str, measure: Callable[[Config], float]
) -> Config:
    """Find and remember the fastest configuration of a problem.

    Args:
        problem: Facts of the call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        measure: Returns the time of a configuration.

    Returns:
        Config: The fastest; the forward and the input gradient share it.

    Raises:
        Exception: One of :func:`failures`, if no configuration runs.
    """
    kind = kind_of(direction)
    key = _key(problem), kind
    if key not in _TUNED:
        times: Dict[Config, float] = {}
        errors: List[Exception] = []
        for config in candidates(problem, kind):
            try:
                times[config] = measure(config)
            except failures() as error:
                # a smaller GPU has no room for the larger tiles
                LOGGER.debug('%s does not run: %s', config, error)
                errors.append(error)
        if not times:
            raise errors[-1]
        _TUNED[key] = min(times, key=times.__getitem__)
    return _TUNED[key]


def _key(problem: Problem) -> Problem:
    return problem._replace(
        channels_last=False, grad_input=False, grad_weight=False
    )
