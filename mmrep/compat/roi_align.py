"""RoIAlign with the interface of ``mmcv._ext``.

A bin averages bilinear samples on a regular grid, so it is a weighted sum of
pixels: over each pixel row next to its samples, and in it over each pixel
column. RoIs touch very different numbers of pixels, so the sums are laid out
one after another and a single call computes them all.
"""

from typing import Iterator, NamedTuple, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision import has_kernel

# Most numbers that a step may hold, to bound memory.
BUDGET = 1 << 22
# Value of mmcv for bins without samples in max mode.
LOWEST = -10000.0


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool the feature map in each RoI to a fixed size.

    Args:
        input (Tensor): Shape (N, C, H, W).
        rois (Tensor): Shape (R, 5), as (image, x1, y1, x2, y2). A RoI whose
            second corner is before its first is sampled backwards, as in
            mmcv's CUDA operator; mmcv's CPU operator refuses it.
        output (Tensor): Receives the result. Shape (R, C, P, Q).
        argmax_y (Tensor): Receives the position of the maxima in max mode.
            Shape (R, C, P, Q).
        argmax_x (Tensor): Likewise along x.
        aligned_height (int): P.
        aligned_width (int): Q.
        spatial_scale (float): Factor from the RoIs' coordinates to the map's.
        sampling_ratio (int): Samples of a bin along each axis; 0 means one per
            pixel.
        pool_mode (int): 0 for the maximum of the samples, 1 for the average.
        aligned (bool): Whether pixel centres are at halves.
    """
    if not output.numel():
        return
    if pool_mode == 1 and _use_torchvision('roi_align_forward', input):
        output.copy_(
            torch.ops.torchvision.roi_align(
                input,
                rois.to(input.dtype),
                spatial_scale,
                aligned_height,
                aligned_width,
                sampling_ratio,
                aligned,
            )
        )
        return
    dtype = torch.promote_types(input.dtype, torch.float32)
    n, c, h, w = input.shape
    table = input.to(dtype).permute(0, 2, 3, 1).reshape(-1, c)
    bins = aligned_height, aligned_width
    steps = _steps(
        rois.to(dtype),
        input.shape,
        bins,
        spatial_scale,
        sampling_ratio,
        aligned,
        pool_mode,
    )
    for rows, image, y, x in steps:
        if pool_mode == 1:
            values = [_average(table, image, y, x)]
        else:
            values = _maximum(table, image, y, x)
        targets = output, argmax_y, argmax_x
        for target, value in zip(targets, values, strict=False):
            value = value.view(-1, *bins, c).permute(0, 3, 1, 2)
            target[rows] = value.to(target.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of :func:`roi_align_forward` to ``grad_input``."""
    if not grad_output.numel():
        return
    shape = grad_input.shape
    if pool_mode == 1 and _use_torchvision('roi_align_backward', grad_input):
        grad_input += torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois.to(grad_output.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *shape,
            sampling_ratio,
            aligned,
        )
        return
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    grad_output = grad_output.to(dtype)
    rois = rois.to(dtype)
    if pool_mode == 0:
        grad = _maximum_backward(
            grad_output, rois, argmax_y.to(dtype), argmax_x.to(dtype), shape
        )
        grad_input += grad.to(grad_input.dtype)
        return
    n, c, h, w = shape
    columns = grad_output.permute(0, 2, 3, 1)
    grad = grad_output.new_zeros(n * h * w, c)
    steps = _steps(
        rois,
        shape,
        (aligned_height, aligned_width),
        spatial_scale,
        sampling_ratio,
        aligned,
        pool_mode,
    )
    for rows, image, y, x in steps:
        _average_backward(columns[rows].reshape(-1, c), image, y, x, grad)
    grad = grad.view(n, h, w, c).permute(0, 3, 1, 2)
    grad_input += grad.to(grad_input.dtype)


class Axis(NamedTuple):
    """Samples of some RoIs along one axis.

    Attributes:
        size: Length of the map.
        counts: Samples of each bin, shape (R, bins).
        place: Their coordinates, bin after bin.
    """

    size: int
    counts: Tensor
    place: Tensor

    def weights(self) -> Tuple[Tensor, Tensor, Tensor]:
        """Pixels that bins use: number per bin, indices and weights."""
        owner, _ = _ragged(self.counts.flatten())
        inside = (self.place >= -1) & (self.place <= self.size)
        low, high, frac = _neighbours(self.place, inside, self.size)
        share = inside / self.counts.flatten()[owner]
        keys = torch.cat([low, high]) + owner.repeat(2) * self.size
        weights = torch.cat([share * (1 - frac), share * frac])
        keys, at = keys.unique(return_inverse=True)
        weights = weights.new_zeros(keys.numel()).index_add_(0, at, weights)
        keep = weights > 0
        keys, weights = keys[keep], weights[keep]
        counts = torch.bincount(
            keys // self.size, minlength=self.counts.numel()
        )
        return counts.view_as(self.counts), keys % self.size, weights


def _use_torchvision(operator: str, x: Tensor) -> bool:
    # its backward adds in any order, which deterministic mode refuses
    return (
        has_kernel(operator, x.device.type)
        and not torch.are_deterministic_algorithms_enabled()
    )


def _steps(
    rois: Tensor,
    shape: torch.Size,
    bins: Tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    pool_mode: int,
) -> Iterator[Tuple[slice, Tensor, Axis, Axis]]:
    """Split the RoIs into steps of a bounded size.

    Yields:
        tuple: Rows of the RoIs, their images, and their samples along y
        and x.
    """
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    finite = corners.isfinite().all(1, keepdim=True)
    corners = torch.where(finite, corners, 0)
    starts = corners[:, [1, 0]]
    sides = corners[:, [3, 2]] - starts
    if not aligned:
        sides = sides.clamp(min=1)
    counts = rois.new_tensor(bins)
    if ratio > 0:
        grids = torch.full_like(sides, ratio)
    else:
        grids = (sides / counts).ceil().clamp(min=0)
    grids = grids * finite
    # how many numbers a RoI needs: some for each pixel that a bin uses and for
    # the output or, in max mode, some for each sample of each channel
    samples = grids * counts
    if pool_mode == 1:
        sizes = rois.new_tensor(shape[2:])
        pixels = torch.minimum(sides.abs(), sizes) + 2 * counts
        pixels = torch.minimum(pixels, 2 * samples)
        cost = 8 * pixels.prod(1) + shape[1] * bins[0] * bins[1]
    else:
        cost = 8 * samples.prod(1) * shape[1]
    cost += samples.sum(1)
    step = (cost.double().cumsum(0) / BUDGET).long()
    end = 0
    for size in step.unique_consecutive(return_counts=True)[1].tolist():
        rows, end = slice(end, end + size), end + size
        axes = [
            _axis(
                starts[rows, a],
                sides[rows, a] / bins[a],
                grids[rows, a],
                bins[a],
                shape[2 + a],
            )
            for a in (0, 1)
        ]
        yield rows, rois[rows, 0].long(), *axes


def _axis(
    start: Tensor, step: Tensor, grid: Tensor, bins: int, size: int
) -> Axis:
    """Lay out the samples of RoIs along one axis."""
    counts = grid.long()[:, None].expand(-1, bins)
    owner, index = _ragged(counts.flatten())
    roi, bin_index = owner // bins, owner % bins
    start, step, grid = start[roi], step[roi], grid[roi]
    # in mmcv's order, because rounding decides what is inside
    place = start + bin_index * step + (index + 0.5) * step / grid
    return Axis(size, counts, place)


def _ragged(
    counts: Tensor, starts: Union[Tensor, int] = 0
) -> Tuple[Tensor, Tensor]:
    """Concatenated lists of these lengths, each counting from a start.

    Returns:
        tuple: For each entry, its list and its number in it.
    """
    owner = torch.arange(counts.numel(), device=counts.device)
    owner = owner.repeat_interleave(counts)
    index = torch.arange(owner.numel(), device=counts.device)
    shift = starts - counts.cumsum(0) + counts
    return owner, index.add_(shift.index_select(0, owner))


def _cross(y_counts: Tensor, x_counts: Tensor) -> Tuple[Tensor, ...]:
    """Pairs of an entry along y and one along x, for all bins of RoIs.

    Args:
        y_counts (Tensor): Entries of each bin along y, shape (R, P).
        x_counts (Tensor): Likewise along x, shape (R, Q).

    Returns:
        tuple: Number of pairs of each bin, shape (R * P * Q, ); bin and entry
            along y of each line of pairs; line and entry along x of each pair.
    """
    shape = *y_counts.shape, x_counts.size(1)
    y_starts = y_counts.flatten().cumsum(0).view_as(y_counts) - y_counts
    x_starts = x_counts.flatten().cumsum(0).view_as(x_counts) - x_counts
    y_counts, y_starts = (
        t[:, :, None].expand(shape).flatten() for t in (y_counts, y_starts)
    )
    x_counts, x_starts = (
        t[:, None].expand(shape).flatten() for t in (x_counts, x_starts)
    )
    bin_of_line, y = _ragged(y_counts, y_starts)
    line, x = _ragged(x_counts[bin_of_line], x_starts[bin_of_line])
    return y_counts * x_counts, bin_of_line, y, line, x


def _neighbours(
    place: Tensor, inside: Tensor, size: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """The two pixels next to each sample, and the weight of the second."""
    place = torch.where(inside, place, 0).clamp(0, size - 1)
    low = place.long()
    return low, (low + 1).clamp_(max=size - 1), place - low


def _terms(image: Tensor, y: Axis, x: Axis) -> Tuple[Tensor, ...]:
    """The terms that the bins average.

    Returns:
        tuple: Number of pixels of each bin and bin of each line of pixels;
            line, pixel and weight of each term.
    """
    y_counts, y_pixels, y_weights = y.weights()
    x_counts, x_pixels, x_weights = x.weights()
    counts, bin_of_line, y_entry, line, x_entry = _cross(y_counts, x_counts)
    roi = bin_of_line // (y_counts.size(1) * x_counts.size(1))
    start = (image[roi] * y.size + y_pixels[y_entry]) * x.size
    # there are many, and index_select is several times as fast
    pixel = x_pixels.index_select(0, x_entry)
    pixel += start.index_select(0, line)
    weight = x_weights.index_select(0, x_entry)
    weight *= y_weights[y_entry].index_select(0, line)
    return counts, bin_of_line, line, pixel, weight


def _average(table: Tensor, image: Tensor, y: Axis, x: Axis) -> Tensor:
    """Average mode; returns (R * P * Q, C)."""
    counts, _, _, pixel, weight = _terms(image, y, x)
    return F.embedding_bag(
        pixel,
        table,
        counts.cumsum(0) - counts,
        mode='sum',
        per_sample_weights=weight,
    )


def _average_backward(
    grad_output: Tensor, image: Tensor, y: Axis, x: Axis, grad: Tensor
) -> None:
    """Gradient of :func:`_average`, added to ``grad``."""
    _, bin_of_line, line, pixel, weight = _terms(image, y, x)
    pixel, order = pixel.sort(stable=True)
    touched, counts = pixel.unique_consecutive(return_counts=True)
    line = line.index_select(0, order)
    sums = F.embedding_bag(
        bin_of_line.index_select(0, line),
        grad_output,
        counts.cumsum(0) - counts,
        mode='sum',
        per_sample_weights=weight.index_select(0, order),
    )
    grad.index_add_(0, touched, sums)


def _maximum(
    table: Tensor, image: Tensor, y: Axis, x: Axis
) -> Tuple[Tensor, Tensor, Tensor]:
    """Max mode; the maxima and where they are, each (R * P * Q, C)."""
    counts, bin_of_line, y_entry, line, x_entry = _cross(y.counts, x.counts)
    roi = bin_of_line // (y.counts.size(1) * x.counts.size(1))
    owner = bin_of_line[line]
    places = y.place[y_entry][line], x.place[x_entry]
    inside = (places[0] >= -1) & (places[0] <= y.size)
    inside &= (places[1] >= -1) & (places[1] <= x.size)
    *ys, y_frac = _neighbours(places[0], inside, y.size)
    *xs, x_frac = _neighbours(places[1], inside, x.size)
    start = image[roi][line] * y.size
    pixels = [(start + i) * x.size + j for i in ys for j in xs]
    weights = [
        i * j * inside
        for i in (1 - y_frac, y_frac)
        for j in (1 - x_frac, x_frac)
    ]
    values = F.embedding_bag(
        torch.stack(pixels, 1),
        table,
        mode='sum',
        per_sample_weights=torch.stack(weights, 1),
    )
    # as in mmcv, the first of the highest, if it is above this
    values = torch.where(values > LOWEST, values, LOWEST)
    shape = counts.numel(), table.size(1)
    rows = owner[:, None].expand_as(values)
    best = values.new_full(shape, LOWEST)
    best.scatter_reduce_(0, rows, values, 'amax')
    sample = torch.arange(owner.numel(), device=owner.device)[:, None]
    none = owner.numel()
    sample = torch.where(values == best[owner], sample, none)
    first = rows.new_full(shape, none)
    first.scatter_reduce_(0, rows, sample, 'amin')
    first = torch.where(best > LOWEST, first, none)
    return best, *(F.pad(p, (0, 1), value=-1.0)[first] for p in places)


def _maximum_backward(
    grad_output: Tensor,
    rois: Tensor,
    place_y: Tensor,
    place_x: Tensor,
    shape: torch.Size,
) -> Tensor:
    """Gradient of :func:`_maximum`, shape (N, C, H, W)."""
    n, c, h, w = shape
    found = place_y != -1
    y_inside = found & (place_y >= -1) & (place_y <= h)
    x_inside = (place_x >= -1) & (place_x <= w)
    y_low, y_high, y_frac = _neighbours(place_y, y_inside, h)
    x_low, x_high, x_frac = _neighbours(place_x, x_inside, w)
    channel = torch.arange(c, device=rois.device)
    plane = rois[:, 0].long()[:, None] * c + channel
    plane = plane[:, :, None, None] * h
    grad_output = grad_output * (y_inside & x_inside)
    grad = grad_output.new_zeros(n * c * h * w)
    for y, wy in ((y_low, 1 - y_frac), (y_high, y_frac)):
        for x, wx in ((x_low, 1 - x_frac), (x_high, x_frac)):
            index = (plane + y) * w + x
            part = grad_output * wy * wx
            grad.index_add_(0, index.flatten(), part.flatten())
    return grad.view(shape)
