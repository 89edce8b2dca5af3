"""Triton kernels of the neighbourhood product; see product.py.

A program handles a row of BLOCK positions of one head and loops over the K x K
places of their windows, which begin at ``clamp(position - K // 2, 0, size -
K)``. Sums are in fp32 and in a fixed order, without atomics. The channels of a
position are contiguous, in blocks of CHANNELS.
"""

import triton
import triton.language as tl

SIZES = ('heads', 'height', 'width', 'channels', 'size')


@triton.jit
def first_place(position, extent, size):
    """Where the window of a position begins."""
    centred = tl.maximum(position - size // 2, 0)
    return tl.minimum(centred, extent - size)


@triton.jit
def plane(tensor, stride_n, stride_h, heads):
    """The head of a program, for tensors that may be large."""
    head = tl.program_id(1).to(tl.int64)
    return tensor + head // heads * stride_n + head % heads * stride_h


@triton.jit(do_not_specialize=SIZES)
def product_kernel(
    weights,
    value,
    out,
    heads,
    height,
    width,
    channels,
    size,
    vn,
    vh,
    vy,
    vx,
    vc,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum the weighted values; ``out`` and ``weights`` are contiguous."""
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = position < height * width
    top = first_place(position // width, height, size)
    left = first_place(position % width, width, size)
    value = plane(value, vn, vh, heads)
    both = inside[:, None] & (c < channels)[None, :]
    row = tl.program_id(1).to(tl.int64) * height * width + position
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for a in range(size):
        for b in range(size):
            tap = row * size * size + a * size + b
            w = tl.load(weights + tap, mask=inside, other=0.0)
            place = (top + a) * vy + (left + b) * vx
            v = tl.load(
                value + place[:, None] + c[None, :] * vc, mask=both, other=0.0
            )
            total += w.to(tl.float32)[:, None] * v.to(tl.float32)
    tl.store(out + row[:, None] * channels + c[None, :], total, mask=both)


@triton.jit(do_not_specialize=SIZES)
def weight_gradient_kernel(
    grad,
    value,
    out,
    heads,
    height,
    width,
    channels,
    size,
    vn,
    vh,
    vy,
    vx,
    vc,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Products of the gradient with the window; one block of channels."""
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, CHANNELS)
    inside = position < height * width
    top = first_place(position // width, height, size)
    left = first_place(position % width, width, size)
    value = plane(value, vn, vh, heads)
    both = inside[:, None] & (c < channels)[None, :]
    row = tl.program_id(1).to(tl.int64) * height * width + position
    g = tl.load(
        grad + row[:, None] * channels + c[None, :], mask=both, other=0.0
    ).to(tl.float32)
    for a in range(size):
        for b in range(size):
            place = (top + a) * vy + (left + b) * vx
            v = tl.load(
                value + place[:, None] + c[None, :] * vc, mask=both, other=0.0
            )
            tap = row * size * size + a * size + b
            tl.store(
                out + tap, tl.sum(g * v.to(tl.float32), axis=1), mask=inside
            )


@triton.jit
def first_row(place, extent, size):
    """The first position whose window contains a place."""
    return tl.where(place < size, 0, place - size // 2)


@triton.jit(do_not_specialize=(*SIZES, 'reach_h', 'reach_w'))
def value_gradient_kernel(
    grad,
    weights,
    out,
    heads,
    height,
    width,
    channels,
    size,
    reach_h,
    reach_w,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gather from the positions whose windows contain a place."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = place < height * width
    y = place // width
    x = place % width
    head = tl.program_id(1).to(tl.int64) * height * width
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for i in range(reach_h):
        row = first_row(y, height, size) + i
        a = y - first_place(row, height, size)
        rows = inside & (row < height) & (a >= 0) & (a < size)
        for j in range(reach_w):
            column = first_row(x, width, size) + j
            b = x - first_place(column, width, size)
            seen = rows & (column < width) & (b >= 0) & (b < size)
            position = head + row * width + column
            tap = position * size * size + a * size + b
            w = tl.load(weights + tap, mask=seen, other=0.0)
            g = tl.load(
                grad + position[:, None] * channels + c[None, :],
                mask=seen[:, None] & (c < channels)[None, :],
                other=0.0,
            )
            total += w.to(tl.float32)[:, None] * g.to(tl.float32)
    both = inside[:, None] & (c < channels)[None, :]
    tl.store(
        out + (head + place)[:, None] * channels + c[None, :],
        total,
        mask=both,
    )
