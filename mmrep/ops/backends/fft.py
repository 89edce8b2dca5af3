"""Depth-wise convolution by real FFTs over tiles (overlap-add).

One convention serves the forward and both gradients. With the kernel flipped
(``f``) and the map's tile at offset 0, the output is ``x * f`` read from
offset ``r = K // 2``. The gradient of the output is placed at offset ``r``,
so that the input gradient (``g`` correlated with ``f``, read from offset 0)
and the flipped weight gradient (``g`` correlated with ``x``, read from offset
0) need the same transform of it.

A map that is one tile long needs a period of only ``size + r``: what wraps
around falls into rows that are cut away. Several tiles need ``tile + K - 1``.
"""

from functools import lru_cache
from typing import Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..problem import memory_format_of

# Real elements of one block of planes: planes are transformed a few at a
# time so that their spectra stay in the cache (CPU) or bound the peak (GPU).
CACHED_BYTES = 64 << 20
BLOCK_ELEMENTS = {'cpu': 1 << 19, 'cuda': 1 << 26}


class Axis(NamedTuple):
    """How one axis is cut into tiles.

    Attributes:
        size: Length of the map.
        taps: Taps of the kernel that can reach the map.
        tile: Length of a tile of the input.
        tiles: Number of tiles.
        window: Length of the output that one tile reaches.
        period: Length of the transform.
    """

    size: int
    taps: int
    tile: int
    tiles: int
    window: int
    period: int


class Tiling(NamedTuple):
    rows: Axis
    cols: Axis

    @property
    def period(self) -> Tuple[int, int]:
        return self.rows.period, self.cols.period

    @property
    def points(self) -> int:
        """Real points of one tile's transform."""
        return self.rows.period * self.cols.period

    @property
    def work(self) -> float:
        """Relative time of one transform, in points of an average one."""
        rows, cols = self.period
        return axis_work(rows) * axis_work(cols)

    @property
    def tiles(self) -> int:
        """Tiles of a plane."""
        return self.rows.tiles * self.cols.tiles


def axis_work(period: int) -> float:
    """Relative time of a transform along one axis.

    Measured with MKL (ns a point of a square transform): 1.6 for powers of
    two, 2.1 for other multiples of 32, 2.3 for those of 16, up to 2.9 for
    twice an odd number.
    """
    if period & (period - 1) == 0:
        return 0.88 * period
    twos = (period & -period).bit_length() - 1
    return (1.3, 1.3, 1.15, 1.1, 1.05, 0.95)[min(twos, 5)] * period


@lru_cache(maxsize=None)
def good_size(size: int) -> int:
    """The even product of 2, 3, 5 from ``size`` on with the least work."""
    best = None
    period = size + size % 2
    while best is None or 0.88 * period < axis_work(best):
        rest = period
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and (best is None or axis_work(period) < axis_work(best)):
            best = period
        period += 2
    return best


def cut_axis(size: int, kernel: int, tiles: int) -> Axis:
    """Cut an axis of ``size`` into (at most) ``tiles`` tiles."""
    taps = min(kernel, 2 * size - 1)
    tile = -(-size // tiles)
    tiles = -(-size // tile)
    if tiles == 1:
        window = size + taps // 2
        return Axis(size, taps, size, 1, window, good_size(window))
    window = tile + taps - 1
    return Axis(size, taps, tile, tiles, window, good_size(window))


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
    best = None
    for rows in _cuts(size[0], kernel[0]):
        for cols in _cuts(size[1], kernel[1]):
            tiling = Tiling(rows, cols)
            # small transforms have a cost of their own, and so does the sum
            each = 2 * tiling.tiles + kernel_share
            work = (tiling.work + 300) * each
            if tiling.tiles > 1:
                work *= 1.15
            if best is None or work < best[0]:
                best = work, tiling
    return best[1]


def _cuts(size: int, kernel: int) -> Iterator[Axis]:
    last = None
    for tiles in range(1, max(1, size // 16) + 1):
        axis = cut_axis(size, kernel, tiles)
        if axis != last:
            yield axis
        last = axis


def why_not(device: str, dtype: torch.dtype) -> Optional[str]:
    """Why this backend cannot run, or None."""
    if device not in ('cpu', 'cuda'):
        return f'runs on cpu and cuda, not on {device}'
    if not torch.backends.mkl.is_available() and device == 'cpu':
        return 'this build of PyTorch has no MKL for its CPU transforms'
    return None


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    relu: bool = False,
    spectra: str = 'drop',
) -> Tuple[Tensor, Tensor, Tensor]:
    """Depth-wise convolution in the frequency domain.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,). Defaults to None.
        relu: Apply ReLU to the output. Defaults to False.
        spectra: 'keep' returns the spectra for :func:`backward`, 'cache'
            remembers the kernel's, 'drop' does neither. Defaults to 'drop'.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Output of shape (N, C, H, W) in the
        layout of ``x``; conjugate spectra of the input's tiles, shape
        (tiles, N, C, period, period / 2 + 1), and of the kernel, shape
        (C, period, period / 2 + 1). Without 'keep' these are empty.
    """
    tiling = tiling_of(x, weight)
    shift = None if bias is None else bias.view(-1, 1, 1)
    # several tiles are summed, and half precision would round each time
    dtype = x.dtype if tiling.tiles == 1 else _real(x.dtype)
    out = torch.empty_like(x, dtype=dtype, memory_format=memory_format_of(x))
    if tiling.tiles > 1:
        out.zero_() if bias is None else out.copy_(shift)
    x_kept, w_kept = x.new_empty(0), x.new_empty(0)
    if spectra == 'keep':
        x_kept, w_kept = empty_spectra(x, tiling)
    known = CACHE.get(weight, tiling) if spectra == 'cache' else None
    images, channels = _blocks(x, tiling)
    for ch in channels:
        w_f = (
            transform_weight(weight[ch], tiling)
            if known is None
            else known[ch]
        )
        if spectra == 'keep':
            torch.conj_physical(w_f, out=w_kept[ch])
        for planes, i, tile in _work(images, ch, tiling):
            x_f = _transform(x[planes], tile, tiling)
            if spectra == 'keep':
                torch.conj_physical(x_f, out=x_kept[(i, *planes)])
            y = torch.fft.irfft2(x_f.mul_(w_f), s=tiling.period)
            part, top, left = _window(out[planes], tile, tiling)
            y = y[..., top : top + part.size(-2), left : left + part.size(-1)]
            if tiling.tiles > 1:
                part += y
            elif bias is None:
                part.copy_(y)
            else:
                torch.add(y, shift[ch], out=part)
    if relu:
        out.relu_()
    return out.to(x.dtype), x_kept, w_kept


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    need_input: bool = True,
    need_weight: bool = True,
    x_spectrum: Optional[Tensor] = None,
    weight_spectrum: Optional[Tensor] = None,
) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Both gradients with one transform of the output's gradient.

    Args:
        grad: Gradient of the output, shape (N, C, H, W).
        x: Input of the forward, shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        need_input: Compute the input gradient. Defaults to True.
        need_weight: Compute the weight gradient. Defaults to True.
        x_spectrum: Kept by :func:`forward`. Defaults to None.
        weight_spectrum: Kept by :func:`forward`. Defaults to None.

    Returns:
        tuple[Tensor | None, Tensor | None]: Gradients of the input, shape
        (N, C, H, W), and of the weight, shape (C, 1, Kh, Kw).
    """
    tiling = tiling_of(x, weight)
    rows, cols = tiling
    grad_x = None
    if need_input:
        grad_x = torch.empty_like(x, memory_format=memory_format_of(x))
    grad_w = torch.zeros_like(weight) if need_weight else None
    images, channels = _blocks(x, tiling)
    for ch in channels:
        if weight_spectrum is not None:
            w_c = weight_spectrum[ch]
        elif need_input:
            w_c = transform_weight(weight[ch], tiling).conj_physical_()
        total = None
        for planes, i, tile in _work(images, ch, tiling):
            g_f = _transform_window(grad[planes], tile, tiling)
            if need_weight:
                if x_spectrum is None:
                    x_c = _transform(x[planes], tile, tiling).conj_physical_()
                else:
                    x_c = x_spectrum[(i, *planes)]
                part = x_c * g_f
                part = part.sum(0) if len(part) > 1 else part[0]
                total = part if total is None else total.add_(part)
            if need_input:
                g_x = torch.fft.irfft2(g_f.mul_(w_c), s=tiling.period)
                top, left = tile
                size = grad_x[planes][
                    ..., top : top + rows.tile, left : left + cols.tile
                ]
                size.copy_(g_x[..., : size.size(-2), : size.size(-1)])
        if total is not None:
            flipped = torch.fft.irfft2(total, s=tiling.period)
            _add_weight(grad_w[ch, 0], flipped, tiling)
    return grad_x, grad_w


class SpectrumCache:
    """The last spectrum of each kernel, for as long as the kernel lives.

    A kernel may be written to without notice (``weight.data.copy_``), so a
    copy of its values is compared before the spectrum is used.
    """

    def __init__(self) -> None:
        self._entries = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, weight: Tensor, tiling: Tiling) -> Optional[Tensor]:
        """Shape (C, period, period / 2 + 1), or None where too large."""
        size = 4 * weight.size(0) * tiling.points
        if weight.device.type != 'cpu' or size > CACHED_BYTES:
            return None
        key = tiling.period, tiling.rows.taps, tiling.cols.taps
        known, values, spectrum = self._entries.get(weight, (None,) * 3)
        if known != key or not torch.equal(values, weight):
            spectrum = transform_weight(weight, tiling)
            self._entries[weight] = key, weight.detach().clone(), spectrum
        return spectrum


CACHE = SpectrumCache()


def empty_spectra(x: Tensor, tiling: Tiling) -> Tuple[Tensor, Tensor]:
    """Room for the spectra of an input's tiles and of the kernel."""
    half = (tiling.rows.period, tiling.cols.period // 2 + 1)
    dtype = _complex(x.dtype)
    return (
        x.new_empty((tiling.tiles, *x.shape[:2], *half), dtype=dtype),
        x.new_empty((x.size(1), *half), dtype=dtype),
    )


def tiling_of(x: Tensor, weight: Tensor) -> Tiling:
    """The tiling that the forward and the backward of a call share."""
    return plan_tiling(tuple(x.shape[2:]), tuple(weight.shape[2:]), x.size(0))


def transform_weight(weight: Tensor, tiling: Tiling) -> Tensor:
    """Spectrum of the flipped kernel.

    Args:
        weight: Shape (C, 1, Kh, Kw).
        tiling: Cut of both axes.

    Returns:
        Tensor: Shape (C, period, period / 2 + 1).
    """
    taps = _reachable(weight[:, 0], tiling).flip(-2, -1)
    return torch.fft.rfft2(taps.to(_real(weight.dtype)), s=tiling.period)


def _reachable(weight: Tensor, tiling: Tiling) -> Tensor:
    """The taps (C, taps, taps) that can reach the map."""
    rows, cols = tiling
    top = (weight.size(-2) - rows.taps) // 2
    left = (weight.size(-1) - cols.taps) // 2
    return weight[..., top : top + rows.taps, left : left + cols.taps]


def _real(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def _blocks(x: Tensor, tiling: Tiling) -> Tuple[List[slice], List[slice]]:
    """Cut the images and the channels into blocks of planes."""
    images, channels = x.shape[:2]
    limit = max(1, BLOCK_ELEMENTS[x.device.type] // tiling.points)
    wide = min(channels, limit)
    high = max(1, limit // max(wide, 1))
    return (
        [slice(n, n + high) for n in range(0, images, high)],
        [slice(c, c + wide) for c in range(0, channels, wide)],
    )


def _work(
    images: List[slice], channels: slice, tiling: Tiling
) -> Iterator[Tuple[Tuple[slice, slice], int, Tuple[int, int]]]:
    """Planes, number and first row and column of each tile."""
    rows, cols = tiling
    for block in images:
        for i in range(tiling.tiles):
            tile = i // cols.tiles * rows.tile, i % cols.tiles * cols.tile
            yield (block, channels), i, tile


def _transform(x: Tensor, tile: Tuple[int, int], tiling: Tiling) -> Tensor:
    """Spectrum of one tile of the input, at offset 0."""
    rows, cols = tiling
    part = x[..., tile[0] : tile[0] + rows.tile, tile[1] : tile[1] + cols.tile]
    return _padded_rfft2(part, 0, 0, tiling)


def _transform_window(
    grad: Tensor, tile: Tuple[int, int], tiling: Tiling
) -> Tensor:
    """Spectrum of the gradient that one tile's output reaches."""
    part, top, left = _window(grad, tile, tiling)
    return _padded_rfft2(part, top, left, tiling)


def _window(
    y: Tensor, tile: Tuple[int, int], tiling: Tiling
) -> Tuple[Tensor, int, int]:
    """The part of an output-sized map in a tile's window, and its offset."""
    rows, cols = tiling
    first = tile[0] - rows.taps // 2
    left = tile[1] - cols.taps // 2
    part = y[
        ...,
        max(first, 0) : first + rows.window,
        max(left, 0) : left + cols.window,
    ]
    return part, max(-first, 0), max(-left, 0)


def _padded_rfft2(part: Tensor, top: int, left: int, tiling: Tiling) -> Tensor:
    padded = torch.zeros(
        (*part.shape[:2], *tiling.period),
        dtype=_real(part.dtype),
        device=part.device,
    )
    padded[..., top : top + part.size(-2), left : left + part.size(-1)] = part
    return torch.fft.rfft2(padded)


def _add_weight(grad: Tensor, flipped: Tensor, tiling: Tiling) -> None:
    """Add a (C, period, period) correlation to a gradient (C, Kh, Kw)."""
    rows, cols = tiling
    taps = flipped[..., : rows.taps, : cols.taps].flip(-2, -1)
    _reachable(grad, tiling).add_(taps)
