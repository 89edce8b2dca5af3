"""Products of a kernel per position with the neighbourhood of the position.

`Neighborhood Attention Transformer <https://arxiv.org/abs/2204.07143>`_: the
window of K x K values is centred and shifted inside at a border, so every
position has K x K values. NATTEN calls the product ``na2d_av``; since version
0.20 it has it neither under this name nor on a CPU.

On a GPU, Triton kernels compute it (:mod:`mmrep.ops.product`). Elsewhere, the
kernels of the positions in a row become, for each row of the window, bands of
a matrix over the columns. Only the matrices of a few rows and columns are
built at a time, so they fit in the cache, and they are multiplied at the speed
of matrix products.
"""

from typing import Iterator, NamedTuple, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmrep.ops import product

# Columns of a tile. With more columns the matrices hold more zeros; with
# fewer, more values are repeated.
TILE = 32
# Elements of the matrices built at a time, by whether the device is a CPU.
ELEMENTS = {True: 1 << 19, False: 1 << 26}


def window_starts(size: int, kernel_size: int, device=None) -> Tensor:
    """First place of the window of each of ``size`` places, shape (size, )."""
    centred = torch.arange(size, device=device) - kernel_size // 2
    return centred.clamp(min=0, max=size - kernel_size)


def neighbourhood_product(
    weights: Tensor, value: Tensor, kernel_size: int
) -> Tensor:
    """Weighted sum of the values in the window of each position.

    Args:
        weights (Tensor): Shape (N, heads, H, W, K * K).
        value (Tensor): Shape (N, heads, H, W, C); H and W are K or more.
        kernel_size (int): K, odd.

    Returns:
        Tensor: Shape (N, heads, H, W, C), in the dtype of ``value``.

    Raises:
        ValueError: If the weights do not fit the map.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f'kernel_size must be odd and positive, got {kernel_size}.'
        )
    # sizes of graphs may be symbolic, and a comparison would fix them
    in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if not weights.dim() == value.dim() == 5 or not (
        in_graph
        or weights.shape == (*value.shape[:-1], kernel_size**2)
        and min(value.shape[2:4]) >= kernel_size
    ):
        raise ValueError(
            'weights (N, heads, H, W, K * K) must fit the value (N, heads, H, '
            f'W, C) with H and W of K = {kernel_size} or more, got '
            f'{tuple(weights.shape)} and {tuple(value.shape)}.'
        )
    if in_graph:
        return _whole_product(weights, value, kernel_size)
    return _Product.apply(weights.to(value.dtype), value, kernel_size)


def relative_bias(table: Tensor, height: int, width: int) -> Tensor:
    """Bias of each place of each window, by its offset from the position.

    Args:
        table (Tensor): Bias by offset, shape (heads, 2 K - 1, 2 K - 1).
        height (int): Height of the map.
        width (int): Width of the map.

    Returns:
        Tensor: Shape (heads, H, W, K * K).
    """
    size = (table.size(-1) + 1) // 2
    # (heads, first row, first column, K, K), by where a window begins
    windows = table.unfold(1, size, 1).unfold(2, size, 1)
    rows, columns = (
        window_starts(n, size, table.device)
        - torch.arange(n, device=table.device)
        + (size - 1)
        for n in (height, width)
    )
    return windows[:, rows][:, :, columns].flatten(-2)


class _Tile(NamedTuple):
    """Rows and columns of the output, and the values that they need."""

    rows: slice
    columns: slice
    window_rows: Tensor  # (rows, K)
    window_columns: slice
    starts: Tensor  # of the windows in window_columns, (columns, )

    def place(self) -> Tuple[slice, ...]:
        """Index of the output."""
        return slice(None), slice(None), self.rows, self.columns

    def window(self, value: Tensor) -> Tensor:
        """The values, shape (N, heads, rows, K * columns, C)."""
        rows = value[:, :, :, self.window_columns].index_select(
            2, self.window_rows.flatten()
        )
        return rows.unflatten(2, self.window_rows.shape).flatten(3, 4)

    def diagonals(self, band: Tensor) -> Iterator[Tuple[slice, Tensor]]:
        """The places of a band that hold weights, as views of it.

        Args:
            band (Tensor): Shape (N, heads, rows, columns, K, window columns),
                contiguous.

        Yields:
            tuple[slice, Tensor]: Columns of the tile, and the view of their
            weights, shape (N, heads, rows, columns, K, K).
        """
        size = band.size(4)
        strides = band.stride()
        starts = self.starts.tolist()
        count = len(starts)
        # clamped at the left border, following the position, clamped at the
        # right
        left = sum(1 for start in starts[1:] if start == 0) if count else 0
        right = count
        while right - 1 > left and starts[right - 1] == starts[right - 2]:
            right -= 1
        for first, last, step in (
            (0, left, 0),
            (left, right, 1),
            (right, count, 0),
        ):
            if first == last:
                continue
            offset = first * strides[3] + starts[first]
            yield (
                slice(first, last),
                band.as_strided(
                    (*band.shape[:3], last - first, size, size),
                    (*strides[:3], strides[3] + step, strides[4], 1),
                    band.storage_offset() + offset,
                ),
            )

    def band(self, weights: Tensor, size: int) -> Tensor:
        """Weights as matrices, (N, heads, rows, columns, K * window columns).

        Args:
            weights (Tensor): Shape (N, heads, H, W, K * K).
            size (int): K.
        """
        part = weights[self.place()].unflatten(-1, (size, size))
        columns = self.window_columns.stop - self.window_columns.start
        band = part.new_zeros(*part.shape[:-1], columns)
        for place, view in self.diagonals(band):
            view.copy_(part[:, :, :, place])
        return band.flatten(-2)


def _tiles(value: Tensor, size: int) -> Iterator[_Tile]:
    """Divide a map (N, heads, H, W, C) so that its bands stay small."""
    n, heads, height, width, _ = value.shape
    rows, columns = (window_starts(m, size) for m in (height, width))
    span = min(width, TILE + size - 1)
    row_elements = n * heads * min(width, TILE) * size * span
    count = max(1, ELEMENTS[value.is_cpu] // max(1, row_elements))
    window = rows[:, None] + torch.arange(size)
    window = window.to(value.device)
    for j in range(0, width, TILE):
        starts = columns[j : j + TILE]
        first, last = int(starts[0]), int(starts[-1]) + size
        for i in range(0, height, count):
            yield _Tile(
                slice(i, min(i + count, height)),
                slice(j, min(j + TILE, width)),
                window[i : i + count],
                slice(first, last),
                starts - first,
            )


class _Product(torch.autograd.Function):
    """The product, with Triton kernels or tile by tile.

    The backward pass builds the bands of a tile again.
    """

    @staticmethod
    def forward(ctx, weights, value, size):
        ctx.save_for_backward(weights, value)
        ctx.size = size
        if product.takes(value):
            try:
                return product.forward(weights, value, size)
            except Exception as error:
                product.give_up(error)
        out = torch.empty_like(value)
        for tile in _tiles(value, size):
            out[tile.place()] = tile.band(weights, size) @ tile.window(value)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weights, value = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if product.takes(value):
            try:
                by_weights = by_value = None
                if needed[0]:
                    by_weights = product.grad_weights(grad, value, ctx.size)
                if needed[1]:
                    by_value = product.grad_value(grad, weights, ctx.size)
                return by_weights, by_value, None
            except Exception as error:
                product.give_up(error)
        return *_gradients(grad, weights, value, ctx.size, needed), None


def _gradients(
    grad: Tensor,
    weights: Tensor,
    value: Tensor,
    size: int,
    needed: Tuple[bool, bool],
) -> Tuple[Tensor, Tensor]:
    """Gradients of the product, tile by tile."""
    grad_weights = torch.empty_like(weights)
    grad_value = torch.zeros_like(value)
    for tile in _tiles(value, size):
        part = grad[tile.place()]
        if needed[0]:
            band = part @ tile.window(value).transpose(-1, -2)
            band = band.unflatten(-1, (size, -1)).contiguous()
            target = grad_weights[tile.place()].unflatten(-1, (size, size))
            for place, view in tile.diagonals(band):
                target[:, :, :, place] = view
        if needed[1]:
            window = tile.band(weights, size).transpose(-1, -2) @ part
            window = window.unflatten(3, (size, -1)).flatten(2, 3)
            grad_value[:, :, :, tile.window_columns].index_add_(
                2, tile.window_rows.flatten(), window
            )
    return grad_weights, grad_value


def _whole_product(weights: Tensor, value: Tensor, size: int) -> Tensor:
    """The product in one piece, for graphs: all sizes may be symbolic."""
    height, width = value.shape[2:4]
    steps = torch.arange(size, device=value.device)
    rows, columns = (
        window_starts(n, size, value.device).unsqueeze(1) + steps
        for n in (height, width)
    )
    part = weights.unflatten(-1, (size, size)).to(value.dtype)
    band = part.new_zeros(*part.shape[:-1], width).scatter(
        -1, columns.unsqueeze(1).expand_as(part), part
    )
    return band.flatten(-2) @ value[:, :, rows].flatten(3, 4)
