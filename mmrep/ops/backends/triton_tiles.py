"""Shapes of the Triton kernels' tiles, and which one suits a problem."""

from functools import lru_cache
from typing import Iterator, NamedTuple, Tuple

import torch

from ..problem import Problem

# Rows begin at multiples of this many elements, at least 16 bytes, which is
# what an asynchronous copy moves at once.
UNIT = 8
# Figures of an H200: multiprocessors; for each of them, per clock, tensor-core
# products of 2 and 4 bytes, products without tensor cores, and bytes from the
# L2 cache; bytes from memory per clock; bytes of shared memory.
PROCESSORS = 132
PRODUCTS = {2: 2048, 4: 1024}
PLAIN_PRODUCTS = 128
BYTES = 32
MEMORY_BYTES = 2400
SHARED_BYTES = 232448
# Minimum clocks of a step and of a program.
STEP_CLOCKS = 200
PROGRAM_CLOCKS = 2000


class Config(NamedTuple):
    """Shape of a program's tile.

    Attributes:
        rows: Output rows of a patch: a power of two.
        cols: Output columns of a patch: a power of two from 16.
        patches: Patches of a block.
        depth: Window elements of a block.
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
    """Where the windows of one axis are.

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


FORWARD = (
    Config(8, 16, 256, 64, 8, 3),
    Config(8, 16, 128, 64, 8, 3),
    Config(8, 16, 128, 64, 4, 3),
    Config(8, 16, 128, 128, 8, 2),
    Config(8, 16, 64, 64, 4, 4),
    Config(4, 32, 256, 64, 8, 3),
    Config(4, 32, 128, 64, 8, 3),
    Config(4, 32, 64, 64, 4, 4),
    Config(16, 16, 128, 64, 8, 3),
    Config(16, 16, 64, 64, 8, 3),
    Config(4, 16, 64, 64, 4, 4),
    Config(2, 16, 64, 64, 4, 4),
    Config(2, 32, 64, 64, 4, 4),
    Config(4, 16, 16, 64, 4, 4),
    Config(2, 16, 16, 64, 4, 4),
    Config(2, 32, 16, 64, 4, 4),
)
GRAD_WEIGHT = (
    Config(4, 16, 64, 128, 4, 3),
    Config(4, 16, 64, 256, 8, 3),
    Config(8, 16, 64, 128, 8, 3),
    Config(4, 32, 64, 128, 8, 3),
    Config(2, 32, 64, 128, 4, 3),
    Config(2, 16, 64, 128, 4, 3),
    Config(1, 32, 64, 128, 4, 3),
    Config(1, 16, 64, 128, 4, 3),
    Config(16, 16, 64, 128, 8, 3),
)


def candidates(problem: Problem, kind: str) -> Tuple[Config, ...]:
    """Configurations worth measuring, the default one first.

    Args:
        problem: Facts of the call.
        kind: 'forward' or 'grad_weight'.
    """
    return _candidates(problem, kind, shared_bytes(problem.device))


@lru_cache(maxsize=4096)
def _candidates(problem: Problem, kind: str, room: int) -> Tuple[Config, ...]:
    """Configurations that fit into this many bytes of shared memory."""
    every = GRAD_WEIGHT if kind == 'grad_weight' else FORWARD
    most = next_power(problem.shape[3])
    pool = [c for c in every if c.cols <= most]
    if problem.dtype == torch.float32:
        # the sum's inner dimension has as many bytes
        if kind == 'grad_weight':
            pool = [c._replace(patches=c.patches // 2) for c in pool]
        else:
            pool = [c._replace(depth=c.depth // 2) for c in pool]
    size = problem.dtype.itemsize
    pool = [c for c in pool if c.stages * step_bytes(c, kind, size) <= room]
    if is_plain(problem):
        # more would not fit in the registers
        pool = [c for c in pool if sums_of(c, kind) <= 64]
    times = [clocks(config, problem, kind) for config in pool]
    pool.insert(0, pool.pop(times.index(min(times))))
    return tuple(pool)


def shared_bytes(device: str) -> int:
    """Shared memory that a program may have on the current device."""
    if device != 'cuda' or not torch.cuda.is_available():
        return SHARED_BYTES
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return getattr(properties, 'shared_memory_per_block_optin', SHARED_BYTES)


def step_bytes(config: Config, kind: str, size: int) -> int:
    """Bytes that a step copies to shared memory, at ``size`` per element."""
    across = config.rows * config.cols
    if kind == 'grad_weight':
        return (config.depth + across) * config.patches * size
    return (config.patches + across) * config.depth * size


def sums_of(config: Config, kind: str) -> int:
    """Number of sums that a thread keeps."""
    down = config.depth if kind == 'grad_weight' else config.patches
    return down * config.rows * config.cols // (32 * config.warps)


def is_plain(problem: Problem) -> bool:
    """Whether the products do without the tensor cores."""
    return problem.dtype == torch.float32 and not problem.tf32


def clocks(config: Config, problem: Problem, kind: str) -> float:
    """Estimated clocks of a problem, to compare configurations.

    A step waits for its products or for the bytes that it copies.
    """
    n, c, h, w = problem.shape
    size = problem.dtype.itemsize
    rows, cols = windows((h, w), problem.kernel, config)
    patches = n * rows.tiles * cols.tiles
    across = rows.tile * cols.tile
    seen = sum(
        min(h + rows.offset - r, rows.reach) - max(rows.offset - r, 0)
        for r in range(0, rows.tiles * rows.tile, rows.tile)
    ) / (rows.tiles * rows.reach)
    inner = rows.reach * cols.reach
    if kind == 'grad_weight':
        down, deep = config.depth, config.patches
        programs = c * -(-inner // config.depth)
        steps = seen * -(-patches // config.patches)
        written = c * inner * across * 4
    else:
        down, deep = config.patches, config.depth
        programs = c * -(-patches // config.patches)
        wide = n * cols.tiles >= config.patches
        steps = -(-inner // config.depth) * (seen if wide else 1)
        written = c * cols.reach * (rows.reach + rows.tile) * cols.tile * size
    products: float = PRODUCTS[size]
    if is_plain(problem):
        # the more sums a thread keeps, the less it loads for each product
        sums = sums_of(config, kind)
        products = PLAIN_PRODUCTS * sums / (sums + 16)
    elif down < 64:
        # an older instruction, at half the speed
        products /= 2
    step = max(
        down * across * deep / products,
        step_bytes(config, kind, size) / BYTES,
        STEP_CLOCKS,
    )
    program = steps * step + PROGRAM_CLOCKS
    waves = max(1.0, programs / PROCESSORS)
    return program * waves + 2 * written / MEMORY_BYTES


def windows(
    size: Tuple[int, int], kernel: Tuple[int, int], config: Config
) -> Tuple[Span, Span]:
    """Windows of both axes of a map."""
    rows = span(size[0], kernel[0], config.rows, 1)
    return rows, span(size[1], kernel[1], config.cols, UNIT)


def span(size: int, taps: int, tile: int, align: int) -> Span:
    """Windows of an axis of ``size`` for ``tile`` outputs each.

    Args:
        size: Length of the axis.
        taps: Length of the kernel.
        tile: Outputs of a window.
        align: Windows begin at multiples of this, so loads of several elements
            stay aligned.
    """
    taps = min(taps, 2 * size - 1)
    r = taps // 2
    if tile >= size:
        reach = size if align == 1 else tile
        return Span(tile, 1, reach, 0, r)
    offset = -(-r // align) * align
    reach = tile + 2 * offset
    return Span(tile, -(-size // tile), reach, offset, r - offset)


def step_of(reach: int, depth: int) -> Tuple[int, int]:
    """Rows and columns of a window ``reach`` wide in a step of ``depth``."""
    wide = min(depth, reach & -reach)
    return depth // wide, wide


@lru_cache(maxsize=None)
def block_of(n: int, rows: int, cols: int, size: int) -> Tuple[int, int]:
    """Images and columns of a block of ``size`` patches, powers of two.

    The number of images divides ``n``. Blocks with fewer empty places are
    better; among equals, those with more images.
    """

    def places(block: Tuple[int, int]) -> int:
        images, across = block
        down = size // (images * across)
        return -(-rows // down) * down * -(-cols // across) * across

    blocks = (
        (images, across)
        for images in _halves(min(n & -n, size))
        for across in _halves(size // images)
    )
    return min(blocks, key=places)


def _halves(value: int) -> Iterator[int]:
    """A power of two, and all smaller ones."""
    while value:
        yield value
        value //= 2


def next_power(value: int) -> int:
    """Smallest power of two that is at least ``value`` and 16."""
    return max(16, 1 << (value - 1).bit_length())
