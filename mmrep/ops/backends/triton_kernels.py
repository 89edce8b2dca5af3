"""Triton kernels: depth-wise convolution as products of matrices.

An output patch of RO rows and T columns of one channel is the product of
the input window it sees, as a vector, with a matrix that holds the kernel in
bands (block Toeplitz). Patches of all images and positions are the rows of
one product per channel:

    y[patch, (o, t)] = sum over (i, j) of
        window[patch, (i, j)] * kernel[i - o + shift, j - t + shift]

The bands do not depend on the patch, so they are laid out once per channel
in a small table, from which each step of the product is a plain block: with
q = I - 1 - i + o and P slots of q, row (i, j) and column (o, t) lie at
``j * P * T + q * T + t``, or, where the tensor cores want the inner
dimension contiguous (INNER, for fp32), at ``(q * T + t) * J + j``.

UNIT divides the width and the strides of the rows: Triton then knows that
rows stay aligned, and loads several elements at a time.

UPCAST is for Triton's interpreter, which cannot multiply bf16 matrices.
"""

import triton
import triton.language as tl


@triton.jit
def table_kernel(
    weight,
    table,
    kernel_h,
    kernel_w,
    rows_in,
    row_shift,
    col_shift,
    size,
    P,
    J: tl.constexpr,
    T: tl.constexpr,
    FLIP: tl.constexpr,
    INNER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the bands of one channel from its kernel (Kh, Kw)."""
    c = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if INNER:
        j = index % J
        t = index // J % T
        q = index // (J * T)
    else:
        t = index % T
        q = index // T % P
        j = index // (T * P)
    ky = rows_in - 1 - q + row_shift
    kx = j - t + col_shift
    inside = (ky >= 0) & (ky < kernel_h) & (kx >= 0) & (kx < kernel_w)
    if FLIP:
        ky = kernel_h - 1 - ky
        kx = kernel_w - 1 - kx
    taps = tl.load(
        weight + c * kernel_h * kernel_w + ky * kernel_w + kx,
        mask=inside & (index < size),
        other=0.0,
    )
    tl.store(table + c * size + index, taps, mask=index < size)


@triton.jit
def conv_kernel(
    x,
    table,
    bias,
    y,
    height,
    width_units,
    patches,
    patches_h,
    patches_w,
    rows_in,
    top,
    stride_xn,
    stride_xc,
    units_xh,
    stride_yn,
    stride_yc,
    units_yh,
    P,
    UNIT: tl.constexpr,
    INNER: tl.constexpr,
    LEFT: tl.constexpr,
    J: tl.constexpr,
    T: tl.constexpr,
    RO: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One block of BM patches of one channel: [BM, I * J] x [I * J, RO * T].

    ``top`` and LEFT are the offsets of a patch's window from the patch.
    """
    width = width_units * UNIT
    stride_xh = units_xh * UNIT
    stride_yh = units_yh * UNIT
    c = tl.program_id(1).to(tl.int64)
    patch = tl.program_id(0) * BM + tl.arange(0, BM)
    n = (patch // (patches_h * patches_w)).to(tl.int64)
    first_row = patch // patches_w % patches_h * RO
    first_col = patch % patches_w * T
    image = x + n * stride_xn + c * stride_xc
    bands = table + c * J * P * T
    cols = tl.arange(0, RO * T)
    acc = tl.zeros((BM, RO * T), dtype=tl.float32)
    depth = rows_in * J
    for start in range(0, depth, BK):
        k = start + tl.arange(0, BK)
        i = k // J
        j = k % J
        row = (first_row - top)[:, None] + i[None, :]
        col = (first_col - LEFT)[:, None] + j[None, :]
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        inside &= (patch < patches)[:, None] & (k < depth)[None, :]
        window = tl.load(
            image[:, None] + row * stride_xh + col, mask=inside, other=0.0
        )
        q = rows_in - 1 - i
        if INNER:
            place = (q * T * J + j)[:, None] + cols[None, :] * J
        else:
            place = (j * P * T + q * T)[:, None] + cols[None, :]
        band = tl.load(bands + place, mask=(k < depth)[:, None], other=0.0)
        if UPCAST:
            window, band = window.to(tl.float32), band.to(tl.float32)
        acc = tl.dot(window, band, acc, input_precision=PRECISION)
    if HAS_BIAS:
        acc += tl.load(bias + c).to(tl.float32)
    if RELU:
        # not tl.maximum: NaN stays NaN
        acc = tl.where(acc < 0, 0.0, acc)
    row = first_row[:, None] + (cols // T)[None, :]
    col = first_col[:, None] + (cols % T)[None, :]
    inside = (row < height) & (col < width) & (patch < patches)[:, None]
    image = y + n * stride_yn + c * stride_yc
    tl.store(
        image[:, None] + row * stride_yh + col,
        acc.to(y.dtype.element_ty),
        mask=inside,
    )


@triton.jit
def correlation_kernel(
    x,
    grad,
    partial,
    height,
    width_units,
    strips,
    strips_w,
    strips_per_split,
    kernel_h,
    top,
    stride_xn,
    stride_xc,
    units_xh,
    stride_gn,
    stride_gc,
    units_gh,
    UNIT: tl.constexpr,
    LEFT: tl.constexpr,
    J: tl.constexpr,
    T: tl.constexpr,
    BK: tl.constexpr,
    BM: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Sum over strips (T columns of one row) of window times gradient.

    Gives (ky, j, t) of one channel and one share of the strips:
    [BK of Kh * J, strips] x [strips, T].
    """
    width = width_units * UNIT
    stride_xh = units_xh * UNIT
    stride_gh = units_gh * UNIT
    c = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    k = tl.program_id(0) * BK + tl.arange(0, BK)
    ky = k // J
    j = k % J
    depth = kernel_h * J
    t = tl.arange(0, T)
    acc = tl.zeros((BK, T), dtype=tl.float32)
    begin = split * strips_per_split
    end = tl.minimum(begin + strips_per_split, strips)
    for start in range(begin, end, BM):
        strip = start + tl.arange(0, BM)
        n = (strip // (strips_w * height)).to(tl.int64)
        h = strip // strips_w % height
        first_col = strip % strips_w * T
        row = (h - top)[None, :] + ky[:, None]
        col = (first_col - LEFT)[None, :] + j[:, None]
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        inside &= (strip < end)[None, :] & (k < depth)[:, None]
        window = tl.load(
            x
            + c * stride_xc
            + (n * stride_xn)[None, :]
            + row * stride_xh
            + col,
            mask=inside,
            other=0.0,
        )
        col = first_col[:, None] + t[None, :]
        part = tl.load(
            grad
            + c * stride_gc
            + (n * stride_gn + h * stride_gh)[:, None]
            + col,
            mask=(col < width) & (strip < end)[:, None],
            other=0.0,
        )
        if UPCAST:
            window, part = window.to(tl.float32), part.to(tl.float32)
        acc = tl.dot(window, part, acc, input_precision=PRECISION)
    out = partial + (c * tl.num_programs(2) + split) * depth * T
    tl.store(
        out + (k * T)[:, None] + t[None, :],
        acc,
        mask=(k < depth)[:, None],
    )


@triton.jit
def diagonal_kernel(
    partial,
    grad_weight,
    kernel_h,
    kernel_w,
    splits,
    col_shift,
    J: tl.constexpr,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum (split, ky, j, t) with j - t + col_shift = kx to one (ky, kx)."""
    c = tl.program_id(1).to(tl.int64)
    ky = tl.program_id(0)
    kx = tl.arange(0, BLOCK)
    t = tl.arange(0, T)
    j = kx[:, None] + t[None, :] - col_shift
    inside = (j >= 0) & (j < J) & (kx < kernel_w)[:, None]
    acc = tl.zeros((BLOCK, T), dtype=tl.float32)
    for split in range(0, splits):
        start = ((c * splits + split) * kernel_h + ky) * J * T
        acc += tl.load(
            partial + start + j * T + t[None, :], mask=inside, other=0.0
        )
    out = grad_weight + (c * kernel_h + ky) * kernel_w + kx
    total = tl.sum(acc, axis=1)
    tl.store(out, total.to(grad_weight.dtype.element_ty), mask=kx < kernel_w)
