"""Depth-wise convolution on the tensor cores, by the Triton kernels.

This module imports without Triton; see triton_kernels.py for the method.
The sums run in one fixed order, so results are deterministic.
"""

import importlib.util
import logging
from functools import lru_cache
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Type

import torch
from torch import Tensor

from ..problem import Problem, memory_format_of, uses_tf32

LOGGER = logging.getLogger(__name__)
# The reason why the kernels failed in this process, once they have.
_FAILURE: List[str] = []
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Config(NamedTuple):
    """Shape of a program's tile.

    Attributes:
        rows: Output rows of a patch; 0 for the whole height.
        cols: Output columns of a patch: a power of two.
        patches: Patches (or strips) of a block.
        depth: Elements of the inner dimension per step.
        warps: Warps of a program.
        stages: Depth of the pipeline.
    """

    rows: int
    cols: int
    patches: int
    depth: int
    warps: int
    stages: int


class Span(NamedTuple):
    """How the windows of one axis lie.

    Attributes:
        tile: Outputs of one window.
        tiles: Number of windows.
        reach: Inputs of one window.
        offset: How far a window begins before its outputs.
        shift: Tap of an input at i for an output at o is i - o + shift.
    """

    tile: int
    tiles: int
    reach: int
    offset: int
    shift: int


# What autotuning tries beside the default.
CANDIDATES = (
    Config(8, 16, 128, 64, 8, 3),
    Config(8, 16, 128, 64, 4, 3),
    Config(8, 16, 128, 32, 8, 4),
    Config(4, 16, 128, 64, 4, 3),
    Config(8, 16, 64, 64, 4, 4),
    Config(4, 32, 128, 64, 8, 3),
    Config(4, 32, 64, 64, 4, 4),
    Config(16, 16, 64, 32, 8, 3),
    Config(0, 16, 64, 32, 8, 3),
    Config(4, 32, 16, 64, 4, 4),
    Config(8, 16, 16, 64, 4, 4),
    Config(2, 16, 128, 64, 4, 4),
)
GRAD_WEIGHT_CANDIDATES = (
    Config(1, 16, 64, 128, 4, 3),
    Config(1, 32, 64, 128, 4, 3),
    Config(1, 32, 64, 128, 8, 3),
    Config(1, 32, 32, 128, 4, 4),
    Config(1, 64, 64, 128, 8, 3),
    Config(1, 64, 32, 64, 4, 4),
)


def why_not(device: str, dtype: torch.dtype) -> Optional[str]:
    """Why this backend cannot run, or None."""
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed (pip install triton)'
    if _FAILURE:
        return f'failed before: {_FAILURE[0]}'
    if dtype not in DTYPES:
        return f'computes in {DTYPES}, not in {dtype}'
    if device == 'cpu':
        if not interpreted():
            return 'needs a CUDA device'
    elif device != 'cuda':
        return f'runs on cuda, not on {device}'
    elif torch.version.hip:
        return 'has not been tried on ROCm'
    elif torch.cuda.get_device_capability() < (8, 0):
        return 'needs compute capability 8.0 or later'
    return None


def give_up(error: Exception) -> None:
    """Leave this backend alone from now on, with one warning."""
    if not _FAILURE:
        _FAILURE.append(f'{type(error).__name__}: {error}'.splitlines()[0])
        LOGGER.warning(
            'the Triton kernels do not run here; other backends take over '
            '(%s)',
            _FAILURE[0],
        )


def failures() -> Tuple[Type[Exception], ...]:
    """What a kernel that does not compile or start raises."""
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources

    return CompilationError, OutOfResources, RuntimeError


def interpreted() -> bool:
    """Whether Triton was imported in its interpreter's mode."""
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
        config: Shape of the tiles. Defaults to the tuned one if this
            problem was tuned, else to a sane one.

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
        x: Input of the forward; its layout is the result's.
        weight: Shape (C, 1, Kh, Kw).
        config: As in :func:`forward`. Defaults to None.

    Returns:
        Tensor: Shape (N, C, H, W).
    """
    out = _convolve(grad, weight, None, False, True, config)
    return out.contiguous(memory_format=memory_format_of(x))


def _convolve(x, weight, bias, relu, flip, config) -> Tensor:
    n, c, h, w = x.shape
    if x.numel() == 0:
        return torch.empty_like(x, memory_format=memory_format_of(x))
    config = config or config_for(Problem.of(x, weight), 'forward')
    source = _rows(x)
    y = torch.empty((n, c, h, w), dtype=x.dtype, device=x.device)
    taps = reachable(weight, (h, w)).contiguous()
    kh, kw = taps.shape[2:]
    rows = span(h, kh, config.rows or next_power(h), 1)
    cols = span(w, kw, config.cols, 8)
    slots = rows.reach + rows.tile - 1
    size = cols.reach * slots * cols.tile
    table = torch.empty((c, size), dtype=x.dtype, device=x.device)
    # the tensor cores take fp32 only with the inner dimension contiguous
    inner = x.dtype == torch.float32
    unit = _unit(source, y)
    block = 1024
    _kernels().table_kernel[(-(-size // block), c)](
        taps,
        table,
        kh,
        kw,
        rows.reach,
        rows.shift,
        cols.shift,
        size,
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
        w // unit,
        patches,
        rows.tiles,
        cols.tiles,
        rows.reach,
        rows.offset,
        *source.stride()[:2],
        source.stride(2) // unit,
        *y.stride()[:2],
        y.stride(2) // unit,
        slots,
        UNIT=unit,
        INNER=inner,
        LEFT=cols.offset,
        J=cols.reach,
        T=cols.tile,
        RO=rows.tile,
        BM=config.patches,
        BK=config.depth,
        HAS_BIAS=bias is not None,
        RELU=relu,
        PRECISION=precision(x),
        UPCAST=interpreted(),
        num_warps=config.warps,
        num_stages=config.stages,
    )
    return y.contiguous(memory_format=memory_format_of(x))


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
    result = torch.zeros_like(weight)
    if x.numel() == 0:
        return result
    config = config or config_for(Problem.of(x, weight), 'grad_weight')
    x, grad = _rows(x), _rows(grad)
    taps = reachable(result, (h, w))
    kh, kw = taps.shape[2:]
    cols = span(w, kw, config.cols, 8)
    blocks = -(-kh * cols.reach // config.depth)
    strips = n * h * cols.tiles
    # enough programs for a large GPU, each with some work
    splits = max(1, min(512 // (blocks * c), strips // (8 * config.patches)))
    share = -(-strips // splits)
    partial = torch.empty(
        (c, splits, kh * cols.reach, cols.tile),
        dtype=torch.float32,
        device=x.device,
    )
    unit = _unit(x, grad)
    _kernels().correlation_kernel[(blocks, c, splits)](
        x,
        grad,
        partial,
        h,
        w // unit,
        strips,
        cols.tiles,
        share,
        kh,
        kh // 2,
        *x.stride()[:2],
        x.stride(2) // unit,
        *grad.stride()[:2],
        grad.stride(2) // unit,
        UNIT=unit,
        LEFT=cols.offset,
        J=cols.reach,
        T=cols.tile,
        BK=config.depth,
        BM=config.patches,
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
        cols.shift,
        J=cols.reach,
        T=cols.tile,
        BLOCK=next_power(kw),
    )
    taps.copy_(total)
    return result


def span(size: int, taps: int, tile: int, align: int) -> Span:
    """Windows of an axis of ``size`` for ``tile`` outputs each.

    Args:
        size: Length of the axis.
        taps: Length of the kernel.
        tile: Outputs of a window.
        align: Windows begin at multiples of this, so that loads of
            several elements stay aligned.
    """
    r = taps // 2
    if tile >= size:
        reach = -(-size // align) * align if align == 1 else tile
        return Span(tile, 1, reach, 0, r)
    offset = -(-r // align) * align
    reach = tile + 2 * offset
    return Span(tile, -(-size // tile), reach, offset, r - offset)


def reachable(weight: Tensor, size: Tuple[int, int]) -> Tensor:
    """View of the taps that can reach a map of ``size``."""
    for axis, length in enumerate(size, start=2):
        taps = min(weight.size(axis), 2 * length - 1)
        weight = weight.narrow(axis, (weight.size(axis) - taps) // 2, taps)
    return weight


def next_power(value: int) -> int:
    """Smallest power of two that is at least ``value`` and 16."""
    return max(16, 1 << (value - 1).bit_length())


def _rows(x: Tensor) -> Tensor:
    """The tensor with elements of a row side by side."""
    return x if x.stride(-1) == 1 and x.size(-1) > 1 else x.contiguous()


def _unit(*tensors: Tensor) -> int:
    """8 if it divides the width and the strides of the rows, else 1."""
    sizes = [n for t in tensors for n in (t.size(3), t.stride(2))]
    return 1 if any(n % 8 for n in sizes) else 8


def precision(x: Tensor) -> str:
    """'tf32' where PyTorch's convolutions would use it, else 'ieee'."""
    return 'tf32' if uses_tf32(x.device.type, x.dtype) else 'ieee'


_TUNED: Dict[Tuple[Problem, str], Config] = {}


def config_for(problem: Problem, direction: str) -> Config:
    """The tuned configuration of a problem, or a sane one."""
    kind = 'grad_weight' if direction == 'grad_weight' else 'forward'
    key = _key(problem), kind
    return _TUNED.get(key) or _default(problem, kind)


def tune(
    problem: Problem, direction: str, measure: Callable[[Config], float]
) -> Config:
    """Find and remember the fastest configuration of a problem.

    Args:
        problem: Facts of the call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        measure: Gives the time of a configuration.

    Returns:
        Config: The fastest; the forward and the input gradient share it.

    Raises:
        Exception: One of :func:`failures`, if no configuration runs.
    """
    kind = 'grad_weight' if direction == 'grad_weight' else 'forward'
    key = _key(problem), kind
    if key not in _TUNED:
        times, failed = {}, None
        for config in candidates(problem, kind):
            try:
                times[config] = measure(config)
            except failures() as error:
                # a smaller GPU has no room for the larger tiles
                LOGGER.debug('%s does not run: %s', config, error)
                failed = error
        if not times:
            raise failed
        _TUNED[key] = min(times, key=times.get)
    return _TUNED[key]


def candidates(problem: Problem, kind: str) -> List[Config]:
    """Configurations worth a measurement, the default one first."""
    pool = GRAD_WEIGHT_CANDIDATES if kind == 'grad_weight' else CANDIDATES
    most = next_power(problem.shape[3])
    half = 2 if problem.dtype == torch.float32 else 1
    pool = [
        c._replace(depth=max(16, c.depth // half))
        for c in pool
        if c.cols <= most and (c.rows or problem.shape[2] <= 16)
    ]
    return list(dict.fromkeys([_default(problem, kind), *pool]))


def _key(problem: Problem) -> Problem:
    return problem._replace(
        channels_last=False, grad_input=False, grad_weight=False
    )


def _default(problem: Problem, kind: str) -> Config:
    n, _, h, w = problem.shape
    wide = problem.dtype == torch.float32
    if kind == 'grad_weight':
        return Config(1, 16 if w <= 16 else 32, 64, 64 if wide else 128, 4, 3)
    cols = 32 if 16 < w <= 32 and problem.kernel[1] >= 17 else 16
    rows = 0 if h <= 16 and cols == 16 else 128 // cols
    across = n * -(-w // cols)
    # 16 patches fill the smallest product of the tensor cores
    while rows > 2 and across * -(-h // rows) < 16:
        rows //= 2
    tiles = across * (-(-h // rows) if rows else 1)
    patches = min(64 if rows == 0 else 128, next_power(tiles))
    warps = 4 if patches <= 64 and rows else 8
    return Config(rows, cols, patches, 32 if wide else 64, warps, 3)
