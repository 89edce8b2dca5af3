"""Depth-wise convolution by real FFTs over tiles (overlap-add).

One convention serves the forward and both gradients. With the kernel flipped
(``f``) and the map's tile at offset 0, the output is ``x * f`` read from
offset ``r = K // 2``. The gradient of the output is placed at offset ``r``.
The input gradient (``g`` correlated with ``f``, read from offset 0) and the
flipped weight gradient (``g`` correlated with ``x``, read from offset 0) then
need the same transform of it.

The axes are transformed one after the other, so rows of zeros and rows that
are discarded are not transformed. A spectrum has the columns' frequencies
first, (period / 2 + 1, period): the frequencies of its rows are contiguous, as
their transform requires.
"""

import math
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..problem import Problem, memory_format_of
from .base import Backend, Counts, Gradients, estimate, new_elements
from .fft_tiling import Tiling, plan_tiling

# Real elements of one block of planes. Only a few planes are transformed at a
# time, so their spectra stay in the cache (CPU) and the peak memory is bounded
# (GPU).
BLOCK_ELEMENTS = {'cpu': 1 << 19, 'cuda': 1 << 26}
# Largest kernel spectrum that is remembered.
CACHED_BYTES = 64 << 20
# Largest spectra that a forward keeps for its backward.
KEPT_BYTES = 256 << 20


class Fft(Backend):
    """Real FFTs over tiles.

    A forward may keep its spectra for the backward. If the weight needs no
    gradient, the kernel's spectrum is remembered.
    """

    name = 'fft'
    algorithms = ('fft',)

    def why_not(self, device: str, dtype: torch.dtype) -> Optional[str]:
        if device not in ('cpu', 'cuda'):
            return f'it runs on cpu and cuda, not on {device}'
        if not torch.backends.mkl.is_available() and device == 'cpu':
            return 'this build of PyTorch has no MKL for its CPU transforms'
        return None

    def features(
        self,
        problem: Problem,
        direction: str,
        algorithm: str = 'fft',
        kept: bool = False,
        shared: bool = False,
    ) -> Counts:
        """See :class:`Backend`.

        Args:
            problem: The call.
            direction: 'forward', 'grad_input' or 'grad_weight'.
            algorithm: The only one. Defaults to 'fft'.
            kept: Assume that the forward kept its spectra, or that the
                kernel's is in the cache. Defaults to False.
            shared: Assume that the output gradient is already transformed.
                Defaults to False.
        """
        images, channels, height, width = problem.shape
        tiling = plan_tiling((height, width), problem.kernel, images)
        tiles = images * tiling.tiles
        transforms = 2 * tiles + (not kept)
        products = tiles
        if direction == 'grad_weight':
            transforms = tiles * (2 - kept) + 1
            products = 3 * tiles
        if shared:
            transforms -= tiles
        points = channels * tiling.points / 1e6
        limit = BLOCK_ELEMENTS[problem.device] / 1e6
        work = channels * tiling.work / 1e6 * transforms
        return 'fft', (
            1.0,
            max(1.0, points * tiles / limit),
            work,
            work * math.log2(tiling.points) / 10,
            channels * transforms / 1e3,
            points * products,
            points * tiles * (tiling.tiles > 1),
            2 * problem.elements / 1e6 * problem.channels_last,
            new_elements(problem),
        )

    def cost(
        self, problem: Problem, direction: str, algorithm: str
    ) -> Optional[float]:
        # the kernel's transform is in the cache after the first call
        cached = (
            direction == 'forward'
            and not problem.grad_weight
            and is_cached(problem.device, _spectrum_bytes_of(problem)[1])
        )
        return estimate(
            problem, self.features(problem, direction, kept=cached)
        )

    def can_keep(self, problem: Problem) -> bool:
        return sum(_spectrum_bytes_of(problem)) <= KEPT_BYTES

    def empty_kept(self, x: Tensor, weight: Tensor) -> Tuple[Tensor, Tensor]:
        return empty_spectra(x, tiling_of(x, weight))

    def saved(self, problem: Problem, kept: bool, both: bool) -> float:
        def gain(direction: str, kept: bool, shared: bool = False) -> float:
            full = estimate(problem, self.features(problem, direction))
            less = estimate(
                problem,
                self.features(problem, direction, kept=kept, shared=shared),
            )
            return 0.0 if full is None or less is None else full - less

        saved = gain('grad_weight', kept, both)
        if kept and both:
            # the kernel's spectrum serves the input gradient too
            saved += gain('grad_input', kept=True)
        return saved

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Optional[Tensor],
        relu: bool,
        algorithm: str,
        reuse: str,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        return forward(x, weight, bias, relu, reuse)

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
        return backward(
            grad,
            x,
            weight,
            grad_input_by is not None,
            grad_weight_by is not None,
            kept_input,
            kept_weight,
        )


BACKEND = Fft()


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
        (tiles, N, C, period / 2 + 1, period), and of the kernel, shape
        (C, period / 2 + 1, period). Without 'keep' these are empty.
    """
    tiling = tiling_of(x, weight)
    shift = None if bias is None else bias.view(-1, 1, 1)
    # several tiles are summed, and half precision would round every time
    dtype = x.dtype if tiling.tiles == 1 else _real(x.dtype)
    out = torch.empty_like(x, dtype=dtype, memory_format=memory_format_of(x))
    if tiling.tiles > 1 and shift is None:
        out.zero_()
    elif tiling.tiles > 1:
        out.copy_(shift)
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
            x_f = _transform(_tile(x[planes], tile, tiling), 0, 0, tiling)
            if spectra == 'keep':
                torch.conj_physical(x_f, out=x_kept[i][planes])
            part, top, left = _window(out[planes], tile, tiling)
            y = _invert(x_f.mul_(w_f), part.shape[2:], top, left, tiling)
            if tiling.tiles > 1:
                part += y
            elif shift is None:
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
) -> Gradients:
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
    grad_x = grad_w = None
    if need_input:
        grad_x = torch.empty_like(x, memory_format=memory_format_of(x))
    if need_weight:
        grad_w = torch.zeros_like(weight)
    images, channels = _blocks(x, tiling)
    for ch in channels:
        if weight_spectrum is not None:
            w_c = weight_spectrum[ch]
        elif need_input:
            w_c = transform_weight(weight[ch], tiling).conj_physical_()
        total = None
        for planes, i, tile in _work(images, ch, tiling):
            g_f = _transform(*_window(grad[planes], tile, tiling), tiling)
            if need_weight:
                if x_spectrum is None:
                    part = _tile(x[planes], tile, tiling)
                    x_c = _transform(part, 0, 0, tiling).conj_physical_()
                else:
                    x_c = x_spectrum[i][planes]
                part = x_c * g_f
                part = part.sum(0) if len(part) > 1 else part[0]
                total = part if total is None else total.add_(part)
            if grad_x is not None:
                part = _tile(grad_x[planes], tile, tiling)
                g_f.mul_(w_c)
                part.copy_(_invert(g_f, part.shape[2:], 0, 0, tiling))
        if grad_w is not None and total is not None:
            taps = rows.taps, cols.taps
            flipped = _invert(total, taps, 0, 0, tiling)
            _reachable(grad_w[ch, 0], tiling).copy_(flipped.flip(-2, -1))
    return grad_x, grad_w


def spectrum_bytes(channels: int, tiling: Tiling, dtype: torch.dtype) -> int:
    """Size of the spectra of one tile, or of a kernel."""
    return channels * tiling.points * _real(dtype).itemsize


def _spectrum_bytes_of(problem: Problem) -> Tuple[int, int]:
    """Sizes of the spectra of the input's tiles and of the kernel."""
    images, channels, height, width = problem.shape
    tiling = plan_tiling((height, width), problem.kernel, images)
    size = spectrum_bytes(channels, tiling, problem.dtype)
    return size * images * tiling.tiles, size


def is_cached(device: str, size: int) -> bool:
    """Whether the cache accepts a kernel spectrum of this many bytes."""
    return device == 'cpu' and size <= CACHED_BYTES


class SpectrumCache:
    """The last spectrum of each kernel, for as long as the kernel lives.

    Code may write to a kernel unnoticed (``weight.data.copy_``), so a copy of
    its values is compared before the spectrum is used.
    """

    def __init__(self) -> None:
        self._entries = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, weight: Tensor, tiling: Tiling) -> Optional[Tensor]:
        """Shape (C, period / 2 + 1, period), or None if it is too large."""
        size = spectrum_bytes(weight.size(0), tiling, weight.dtype)
        if not is_cached(weight.device.type, size):
            return None
        key = tiling.period, tiling.rows.taps, tiling.cols.taps
        known, values, spectrum = self._entries.get(weight, (None,) * 3)
        if known != key or not torch.equal(values, weight):
            spectrum = transform_weight(weight, tiling)
            self._entries[weight] = key, weight.detach().clone(), spectrum
        return spectrum


CACHE = SpectrumCache()


def empty_spectra(x: Tensor, tiling: Tiling) -> Tuple[Tensor, Tensor]:
    """Allocate the spectra of an input's tiles and of the kernel."""
    half, dtype = tiling.spectrum, _complex(x.dtype)
    return (
        x.new_empty((tiling.tiles, *x.shape[:2], *half), dtype=dtype),
        x.new_empty((x.size(1), *half), dtype=dtype),
    )


def tiling_of(x: Tensor, weight: Tensor) -> Tiling:
    """The tiling that forward and backward of a call share."""
    return plan_tiling(tuple(x.shape[2:]), tuple(weight.shape[2:]), x.size(0))


def transform_weight(weight: Tensor, tiling: Tiling) -> Tensor:
    """Spectrum of the flipped kernel.

    Args:
        weight: Shape (C, 1, Kh, Kw).
        tiling: How both axes are cut.

    Returns:
        Tensor: Shape (C, period / 2 + 1, period).
    """
    taps = _reachable(weight, tiling).flip(-2, -1)
    return _transform(taps, 0, 0, tiling)[:, 0]


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


def _tile(x: Tensor, tile: Tuple[int, int], tiling: Tiling) -> Tensor:
    """The part of an input-sized map in one tile."""
    rows, cols = tiling
    top, left = tile
    return x[..., top : top + rows.tile, left : left + cols.tile]


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


def _transform(part: Tensor, top: int, left: int, tiling: Tiling) -> Tensor:
    """Spectrum (N, C, period / 2 + 1, period) of maps at an offset."""
    planes, (height, width) = part.shape[:2], part.shape[2:]
    dtype = _real(part.dtype)
    lines = part.new_zeros((*planes, height, tiling.cols.period), dtype=dtype)
    lines[..., left : left + width] = part
    half = part.new_zeros((*planes, *tiling.spectrum), dtype=_complex(dtype))
    half[..., top : top + height] = torch.fft.rfft(lines).transpose(-2, -1)
    return torch.fft.fft(half)


def _invert(
    spectrum: Tensor,
    size: Tuple[int, int],
    top: int,
    left: int,
    tiling: Tiling,
) -> Tensor:
    """The maps (N, C, *size) at an offset of their period."""
    height, width = size
    half = torch.fft.ifft(spectrum)[..., top : top + height]
    lines = torch.fft.irfft(half.transpose(-2, -1), n=tiling.cols.period)
    return lines[..., left : left + width]
