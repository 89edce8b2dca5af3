"""Triton kernels: depth-wise convolution as products of matrices.

An output patch of RO rows and T columns of one channel is the product of
the input window it sees, as a vector, with a matrix that holds the kernel in
bands (block Toeplitz). Patches of all images and positions are the rows of
one product per channel:

    y[patch, (o, t)] = sum over (i, j) of
        window[patch, (i, j)] * kernel[i - o + shift, j - t + shift]

The bands do not depend on the patch, so they are written once per channel to a
small table, from which each step of the product reads a plain block: with q =
I - 1 - i + o and a number of slots of q, row (i, j) and column (o, t) are at
``(j * slots + q) * T + t`` or, if the tensor cores need the inner dimension
contiguous (INNER, for fp32), at ``(q * T + t) * J + j``.

UNIT divides the width and all strides, so Triton knows that rows stay aligned
and copies several elements at a time. The loops have no divisions and only two
comparisons per element, because next to the tensor cores these are what take
time.

UPCAST is for Triton's interpreter, which cannot multiply bf16 matrices.
"""

import triton
import triton.language as tl

# One compiled kernel serves all sizes; UNIT gives their alignment.
TABLE_SIZES = (
    'kernel_h',
    'kernel_w',
    'rows_in',
    'row_shift',
    'col_shift',
    'slots',
)
CONV_SIZES = (
    'height',
    'units_w',
    'units_xn',
    'units_xc',
    'units_xh',
    'images',
    'patches_w',
    'patches',
    'rows_in',
    'top',
    'slots',
)
CORRELATION_SIZES = (
    'height',
    'units_w',
    'units_xn',
    'units_xc',
    'units_xh',
    'units_gn',
    'units_gc',
    'units_gh',
    'images',
    'rows_in',
    'top',
)
DIAGONAL_SIZES = (
    'kernel_h',
    'kernel_w',
    'splits',
    'rows_in',
    'row_shift',
    'col_shift',
)


@triton.jit(do_not_specialize=TABLE_SIZES)
def table_kernel(
    weight,
    table,
    kernel_h,
    kernel_w,
    rows_in,
    row_shift,
    col_shift,
    slots,
    J: tl.constexpr,
    T: tl.constexpr,
    FLIP: tl.constexpr,
    INNER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the bands of one channel from its kernel (Kh, Kw)."""
    c = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = J * slots * T
    if INNER:
        j = index % J
        t = index // J % T
        q = index // (J * T)
    else:
        t = index % T
        q = index // T % slots
        j = index // (T * slots)
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


@triton.jit(do_not_specialize=CONV_SIZES)
def conv_kernel(
    x,
    table,
    bias,
    y,
    height,
    units_w,
    units_xn,
    units_xc,
    units_xh,
    images,
    patches_w,
    patches,
    rows_in,
    top,
    slots,
    UNIT: tl.constexpr,
    INNER: tl.constexpr,
    LEFT: tl.constexpr,
    J: tl.constexpr,
    T: tl.constexpr,
    RO: tl.constexpr,
    BM: tl.constexpr,
    DI: tl.constexpr,
    DJ: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One block of BM patches of one channel: [BM, I * J] x [I * J, RO * T].

    Patches are in the order (row, image, column): if a block spans few rows of
    patches, the steps on rows above and below the map are skipped. ``top`` and
    LEFT are the offsets of a patch's window from the patch. A step takes DI
    rows and DJ columns of the window, so all its positions move by the same
    offset from step to step.
    """
    width = units_w * UNIT
    stride_h = units_xh * UNIT
    c = tl.program_id(1).to(tl.int64)
    patch = tl.program_id(0) * BM + tl.arange(0, BM)
    n = (patch // patches_w % images).to(tl.int64)
    row_of_patches = images * patches_w
    # a patch that does not exist is below the map
    first_row = tl.where(
        patch < patches, patch // row_of_patches * RO, height + top
    )
    first_col = patch % patches_w * T
    i = tl.arange(0, DI * DJ) // DJ
    j = tl.arange(0, DI * DJ) % DJ
    cols = tl.arange(0, RO * T)
    row = (first_row - top)[:, None] + i[None, :]
    col = (first_col - LEFT)[:, None] + j[None, :]
    image = x + (n * units_xn + c * units_xc) * UNIT
    windows = image[:, None] + (row * stride_h + col)
    if INNER:
        place = ((rows_in - 1 - i) * T * J + j)[:, None] + cols[None, :] * J
    else:
        place = ((rows_in - 1 - i + j * slots) * T)[:, None] + cols[None, :]
    bands = table + c * J * slots * T
    last = tl.minimum(tl.program_id(0) * BM + BM, patches) - 1
    above = tl.maximum(top - last // row_of_patches * RO, 0)
    below = height + top - tl.program_id(0) * BM // row_of_patches * RO
    begin = above // DI * (J // DJ)
    end = tl.cdiv(tl.minimum(below, rows_in), DI) * (J // DJ)
    # some row of some window is on the map; because the loop always runs,
    # ptxas can run its matrix products asynchronously
    tl.assume(begin < end)
    acc = tl.zeros((BM, RO * T), dtype=tl.float32)
    for step in range(begin, end):
        down = step // (J // DJ) * DI
        right = step % (J // DJ) * DJ
        # as unsigned numbers, negative ones are large
        inside = (row + down).to(tl.uint32) < height.to(tl.uint32)
        inside &= (col + right).to(tl.uint32) < width.to(tl.uint32)
        window = tl.load(
            windows + (down * stride_h + right), mask=inside, other=0.0
        )
        if INNER:
            band = tl.load(bands + (place + (right - down * T * J)))
        else:
            band = tl.load(bands + (place + (right * slots - down) * T))
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
    image = y + (n * tl.num_programs(1) + c) * height * width
    tl.store(
        image[:, None] + (row * width + col),
        acc.to(y.dtype.element_ty),
        mask=(row < height) & (col < width),
    )


@triton.jit(do_not_specialize=CORRELATION_SIZES)
def correlation_kernel(
    x,
    grad,
    partial,
    height,
    units_w,
    units_xn,
    units_xc,
    units_xh,
    units_gn,
    units_gc,
    units_gh,
    images,
    rows_in,
    top,
    UNIT: tl.constexpr,
    LEFT: tl.constexpr,
    J: tl.constexpr,
    T: tl.constexpr,
    RO: tl.constexpr,
    BK: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BW: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Sum over patches of window times gradient of one channel.

    Returns BK of the (i, j) by all (o, t) for one share of the patches: [BK of
    I * J, patches] x [patches, RO * T]. A step takes BM patches, BN images by
    BM / (BN * BW) rows by BW columns of them; steps whose windows are above or
    below the map are skipped.
    """
    width = units_w * UNIT
    stride_xh = units_xh * UNIT
    stride_gh = units_gh * UNIT
    high: tl.constexpr = BM // (BN * BW) * RO
    wide: tl.constexpr = BW * T
    c = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    k = tl.program_id(0) * BK + tl.arange(0, BK)
    patch = tl.arange(0, BM)
    cols = tl.arange(0, RO * T)
    n = patch // BW % BN
    first_row = patch // (BW * BN) * RO
    first_col = patch % BW * T
    row = (k // J)[:, None] + (first_row - top)[None, :]
    col = (k % J)[:, None] + (first_col - LEFT)[None, :]
    image = x + (c * units_xc + n.to(tl.int64) * units_xn) * UNIT
    windows = image[None, :] + (row * stride_xh + col)
    row_g = first_row[:, None] + (cols // T)[None, :]
    col_g = first_col[:, None] + (cols % T)[None, :]
    image = grad + (c * units_gc + n.to(tl.int64) * units_gn) * UNIT
    parts = image[:, None] + (row_g * stride_gh + col_g)
    lowest = tl.program_id(0) * BK // J
    highest = (tl.program_id(0) * BK + BK - 1) // J
    above = tl.maximum(top - highest, 0) // high
    below = tl.cdiv(tl.minimum(height + top - lowest, height), high)
    row_of_steps = images // BN * tl.cdiv(width, wide)
    steps = tl.maximum(below - above, 0) * row_of_steps
    share = tl.cdiv(steps, tl.num_programs(2))
    begin = split * share
    down = (above + begin // row_of_steps) * high
    right = begin % tl.cdiv(width, wide) * wide
    which = begin // tl.cdiv(width, wide) % (images // BN) * BN
    # a share without steps takes one, which is entirely outside the map
    end = tl.maximum(tl.minimum(begin + share, steps), begin + 1)
    tl.assume(begin < end)
    acc = tl.zeros((BK, RO * T), dtype=tl.float32)
    for _ in range(begin, end):
        inside = (row + down).to(tl.uint32) < height.to(tl.uint32)
        inside &= (col + right).to(tl.uint32) < width.to(tl.uint32)
        far = which.to(tl.int64)
        window = tl.load(
            windows + (far * units_xn * UNIT + (down * stride_xh + right)),
            mask=inside,
            other=0.0,
        )
        part = tl.load(
            parts + (far * units_gn * UNIT + (down * stride_gh + right)),
            mask=(row_g + down < height) & (col_g + right < width),
            other=0.0,
        )
        if UPCAST:
            window, part = window.to(tl.float32), part.to(tl.float32)
        acc = tl.dot(window, part, acc, input_precision=PRECISION)
        # on to the next column; at its end, to the next image or row
        right += wide
        which += tl.where(right < width, 0, BN)
        right = tl.where(right < width, right, 0)
        down += tl.where(which < images, 0, high)
        which = tl.where(which < images, which, 0)
    depth = rows_in * J
    out = partial + (c * tl.num_programs(2) + split) * depth * RO * T
    tl.store(
        out + (k * RO * T)[:, None] + cols[None, :],
        acc,
        mask=(k < depth)[:, None],
    )


@triton.jit(do_not_specialize=DIAGONAL_SIZES)
def diagonal_kernel(
    partial,
    grad_weight,
    kernel_h,
    kernel_w,
    splits,
    rows_in,
    row_shift,
    col_shift,
    J: tl.constexpr,
    T: tl.constexpr,
    RO: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum (split, i, j, o, t) to (ky, kx) with the taps of table_kernel."""
    c = tl.program_id(1).to(tl.int64)
    ky = tl.program_id(0)
    kx = tl.arange(0, BLOCK)
    cols = tl.arange(0, RO * T)
    i = (ky + cols // T - row_shift)[None, :]
    j = kx[:, None] + (cols % T)[None, :] - col_shift
    inside = (i >= 0) & (i < rows_in) & (j >= 0) & (j < J)
    inside &= (kx < kernel_w)[:, None]
    place = (i * J + j) * RO * T + cols[None, :]
    acc = tl.zeros((BLOCK, RO * T), dtype=tl.float32)
    for split in range(0, splits):
        start = (c * splits + split) * rows_in * J * RO * T
        acc += tl.load(partial + start + place, mask=inside, other=0.0)
    out = grad_weight + (c * kernel_h + ky) * kernel_w + kx
    total = tl.sum(acc, axis=1)
    tl.store(out, total.to(grad_weight.dtype.element_ty), mask=kx < kernel_w)
