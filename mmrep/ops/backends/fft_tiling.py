"""How the fft backend cuts a map into tiles for its transforms.

A map that is one tile long needs a period of only ``size + r``, where ``r = K
// 2``, because what wraps around falls into rows that are discarded. Several
tiles need ``tile + K - 1``.
"""

from functools import lru_cache
from typing import Callable, Iterator, NamedTuple, Tuple


class Axis(NamedTuple):
    """How one axis is cut into tiles.

    Attributes:
        size: Length of the map.
        taps: Kernel taps that can reach the map.
        tile: Length of a tile of the input.
        tiles: Number of tiles.
        window: Length of the output that one tile affects.
        period: Length of the transform.
    """

    size: int
    taps: int
    tile: int
    tiles: int
    window: int
    period: int


class Tiling(NamedTuple):
    """How both axes of a map are cut."""

    rows: Axis
    cols: Axis

    @property
    def period(self) -> Tuple[int, int]:
        """Rows and columns of one transform."""
        return self.rows.period, self.cols.period

    @property
    def spectrum(self) -> Tuple[int, int]:
        """Shape of the spectrum of one tile."""
        return self.cols.period // 2 + 1, self.rows.period

    @property
    def points(self) -> int:
        """Real points of one tile's transform."""
        return self.rows.period * self.cols.period

    @property
    def work(self) -> float:
        """Relative time of one transform, in points of an average one."""
        rows, cols = self
        lines: float = rows.tile
        if rows.tiles > 1:
            # as many go in, but the whole window comes out
            lines = (lines + rows.window) / 2
        return lines * line_work(cols.period) + cols.period * column_work(
            rows.period
        )

    @property
    def tiles(self) -> int:
        """Number of tiles of a plane."""
        return self.rows.tiles * self.cols.tiles


def line_work(period: int) -> float:
    """Relative time of a real transform along a row.

    Like :func:`column_work`, it is fitted to 10,000 tiles that MKL transformed
    in both directions. The unit makes the work of an average square tile equal
    to its number of points.
    """
    if period & (period - 1) == 0:
        return 0.50 * period
    return (0.58 if period % 4 == 0 else 0.68) * period


def column_work(period: int) -> float:
    """Relative time of a transform along a column of half a spectrum."""
    if period & (period - 1) == 0:
        # fast, but the cache has few places for lines this far apart
        return (0.27 + 0.0006 * period) * period
    return (0.41 if period % 4 == 0 else 0.51) * period


@lru_cache(maxsize=None)
def good_size(size: int, work: Callable[[int], float]) -> int:
    """The even product of 2, 3, 5, at least ``size``, with the least work."""
    best, period = None, size + size % 2
    while best is None or period < 2 * size:
        rest = period
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and (best is None or work(period) < work(best)):
            best = period
        period += 2
    return best


def cut_axis(
    size: int, kernel: int, tiles: int, work: Callable[[int], float]
) -> Axis:
    """Cut an axis of ``size`` into (at most) ``tiles`` tiles."""
    taps = min(kernel, 2 * size - 1)
    tile = -(-size // tiles)
    tiles = -(-size // tile)
    if tiles == 1:
        window = size + taps // 2
        return Axis(size, taps, size, 1, window, good_size(window, work))
    window = tile + taps - 1
    return Axis(size, taps, tile, tiles, window, good_size(window, work))


@lru_cache(maxsize=4096)
def plan_tiling(
    size: Tuple[int, int], kernel: Tuple[int, int], planes: int = 1
) -> Tiling:
    """The tiling with the least work.

    Args:
        size: Height and width of the map.
        kernel: Height and width of the kernel.
        planes: Number of images that share one transform of the kernel; 0
            if that transform costs nothing.

    Returns:
        Tiling: Cut of both axes.
    """
    kernel_share = 1 / planes if planes else 0.0

    def work(tiling: Tiling) -> float:
        # small transforms have a fixed cost, and so does the sum
        work = (tiling.work + 300) * (2 * tiling.tiles + kernel_share)
        return work * 1.15 if tiling.tiles > 1 else work

    tilings = (
        Tiling(rows, cols)
        for rows in _cuts(size[0], kernel[0], column_work)
        for cols in _cuts(size[1], kernel[1], line_work)
    )
    return min(tilings, key=work)


def _cuts(
    size: int, kernel: int, work: Callable[[int], float]
) -> Iterator[Axis]:
    last = None
    for tiles in range(1, max(1, size // 16) + 1):
        axis = cut_axis(size, kernel, tiles, work)
        if axis != last:
            yield axis
        last = axis
