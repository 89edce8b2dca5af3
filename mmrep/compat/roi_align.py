"""RoIAlign, as ``mmcv._ext`` has it.

A bin averages bilinear samples on a regular grid. The weights of such a
sample are a product of one factor for each axis, and so are those of the
average: RoIAlign of a window of the map is two products with small matrices.
"""

from typing import Iterator, NamedTuple, Tuple

import torch
from torch import Tensor

from .torchvision import has_kernel

# Numbers that one step may hold, so that memory stays bounded.
BUDGET = 1 << 21
# What mmcv gives to bins without samples in max mode.
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
            second corner lies before its first is sampled backwards, as in
            mmcv's CUDA operator; its CPU operator refuses it.
        output (Tensor): Receives the result. Shape (R, C, P, Q).
        argmax_y (Tensor): Receives the place of the maxima in max mode.
            Shape (R, C, P, Q).
        argmax_x (Tensor): Likewise along x.
        aligned_height (int): P.
        aligned_width (int): Q.
        spatial_scale (float): From the RoIs' coordinates to the map's.
        sampling_ratio (int): Samples of a bin along each axis, 0 for one
            each pixel.
        pool_mode (int): 0 for the maximum of the samples, 1 for the average.
        aligned (bool): Whether pixels have their centres at halves.
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
    table = input.to(dtype).permute(0, 2, 3, 1).reshape(-1, input.size(1))
    steps = _steps(
        rois.to(dtype),
        input.shape,
        (aligned_height, aligned_width),
        spatial_scale,
        sampling_ratio,
        aligned,
        pool_mode,
    )
    for rows, image, y, x in steps:
        if pool_mode == 1:
            output[rows] = _average(table, image, y, x).to(output.dtype)
            continue
        value, place_y, place_x = _maximum(table, image, y, x)
        output[rows] = value.to(output.dtype)
        argmax_y[rows] = place_y.to(argmax_y.dtype)
        argmax_x[rows] = place_x.to(argmax_x.dtype)


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
        _average_backward(grad_output[rows], image, y, x, grad)
    grad = grad.view(n, h, w, c).permute(0, 3, 1, 2)
    grad_input += grad.to(grad_input.dtype)


class Axis(NamedTuple):
    """Samples of some RoIs along one axis.

    Attributes:
        size: Length of the map.
        place: Coordinates before clamping, shape (R, bins, samples).
        low: Pixel before each sample, shape (R, bins, samples).
        high: Pixel after each sample, likewise.
        frac: Weight of ``high``, likewise.
        inside: Whether the sample is in the map, likewise.
        exists: Whether the RoI has so many samples, shape (R, 1, samples).
        count: Samples of a bin, at least 1. Shape (R, ).
        first: First pixel of the window, shape (R, ).
        length: Pixels of the longest window.
    """

    size: int
    place: Tensor
    low: Tensor
    high: Tensor
    frac: Tensor
    inside: Tensor
    exists: Tensor
    count: Tensor
    first: Tensor
    length: int

    def weights(self) -> Tensor:
        """Share of each pixel of the window, (R, bins, length)."""
        share = self.inside / self.count[:, None, None]
        base = self.first[:, None, None]
        out = self.place.new_zeros(*self.place.shape[:2], self.length)
        out.scatter_add_(2, self.low - base, share * (1 - self.frac))
        return out.scatter_add_(2, self.high - base, share * self.frac)

    def window(self) -> Tensor:
        """Pixels of the windows, (R, length)."""
        step = torch.arange(self.length, device=self.first.device)
        return (self.first[:, None] + step).clamp_(max=self.size - 1)


def _use_torchvision(operator: str, x: Tensor) -> bool:
    # its backward adds up in any order, which deterministic mode refuses
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
) -> Iterator[Tuple[Tensor, Tensor, Axis, Axis]]:
    """Split the RoIs into steps of a bounded size, and of similar RoIs.

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
    sizes = rois.new_tensor(shape[2:])
    ends = starts + sides
    # one pixel more than the samples can reach, for rounding
    first = torch.minimum(starts, ends).clamp(min=0)
    first = torch.minimum(first, sizes - 1).floor()
    last = torch.maximum(starts, ends).floor().clamp(min=0) + 2
    length = torch.minimum(last, sizes - 1) - first + 1
    # RoIs of similar size share a step
    extent = torch.cat([length, grids.clamp(min=1)], 1)
    kind = extent.log2().ceil()
    if pool_mode == 0:
        kind = kind[:, 2:]
    kinds, member = kind.unique(dim=0, return_inverse=True)
    for group in range(kinds.size(0)):
        rows = (member == group).nonzero()[:, 0]
        ly, lx, gy, gx = extent[rows].amax(0).long().tolist()
        samples = bins[0] * gy, bins[1] * gx
        if pool_mode == 1:
            cost = shape[1] * (ly + bins[0]) * lx + sum(samples)
        else:
            cost = shape[1] * samples[0] * samples[1]
        for part in rows.split(max(1, BUDGET // cost)):
            axes = [
                _axis(
                    starts[part, a],
                    sides[part, a] / bins[a],
                    grids[part, a],
                    first[part, a].long(),
                    bins[a],
                    (gy, gx)[a],
                    (ly, lx)[a],
                    shape[2 + a],
                )
                for a in (0, 1)
            ]
            yield part, rois[part, 0].long(), *axes


def _axis(
    start: Tensor,
    step: Tensor,
    grid: Tensor,
    first: Tensor,
    bins: int,
    samples: int,
    length: int,
    size: int,
) -> Axis:
    """Lay out the samples of RoIs along one axis."""
    index = torch.arange(samples, dtype=start.dtype, device=start.device)
    bin_index = torch.arange(bins, dtype=start.dtype, device=start.device)
    exists = index < grid[:, None, None]
    count = grid.clamp(min=1)
    # in mmcv's order, as rounding decides what is inside
    place = start[:, None] + bin_index * step[:, None]
    inner = (index + 0.5) * step[:, None] / count[:, None]
    place = place[:, :, None] + inner[:, None]
    inside = (place >= -1) & (place <= size) & exists
    low, high, frac = _neighbours(place, inside, size)
    # samples that do not count still need a place in the window
    base = first[:, None, None]
    low = torch.where(inside, low, base)
    high = torch.where(inside, high, base)
    return Axis(
        size,
        place,
        low,
        high,
        frac,
        inside,
        exists,
        count,
        first,
        length,
    )


def _neighbours(
    place: Tensor, inside: Tensor, size: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """The pixels beside samples, and the weight of the second."""
    place = torch.where(inside, place, 0).clamp(0, size - 1)
    low = place.long()
    return low, (low + 1).clamp_(max=size - 1), place - low


def _pixels(image: Tensor, y: Tensor, x: Tensor, h: int, w: int) -> Tensor:
    """Rows of the table for (R, A) along y and (R, B) along x."""
    return (image[:, None, None] * h + y[:, :, None]) * w + x[:, None]


def _average(table: Tensor, image: Tensor, y: Axis, x: Axis) -> Tensor:
    """Average mode; returns (R, C, P, Q)."""
    r, c = image.numel(), table.size(1)
    index = _pixels(image, y.window(), x.window(), y.size, x.size)
    window = table.index_select(0, index.flatten())
    along_y = y.weights() @ window.view(r, y.length, x.length * c)
    along_y = along_y.view(r, -1, x.length, c)
    out = x.weights()[:, None] @ along_y
    return out.permute(0, 3, 1, 2)


def _average_backward(
    grad_output: Tensor, image: Tensor, y: Axis, x: Axis, grad: Tensor
) -> None:
    """Gradient of :func:`_average`, added to ``grad``."""
    r, c, p, _ = grad_output.shape
    columns = grad_output.permute(0, 2, 3, 1)
    along_y = x.weights().transpose(1, 2)[:, None] @ columns
    along_y = along_y.view(r, p, x.length * c)
    window = y.weights().transpose(1, 2) @ along_y
    index = _pixels(image, y.window(), x.window(), y.size, x.size)
    grad.index_add_(0, index.flatten(), window.view(-1, c))


def _maximum(
    table: Tensor, image: Tensor, y: Axis, x: Axis
) -> Tuple[Tensor, Tensor, Tensor]:
    """Max mode; the maxima and where they are, each (R, C, P, Q)."""
    r, p, gy = y.place.shape
    _, q, gx = x.place.shape
    value = 0
    for yi, wy in ((y.low, 1 - y.frac), (y.high, y.frac)):
        for xi, wx in ((x.low, 1 - x.frac), (x.high, x.frac)):
            index = _pixels(
                image, yi.flatten(1), xi.flatten(1), y.size, x.size
            )
            weight = (wy * y.inside).flatten(1)[:, :, None] * (
                wx * x.inside
            ).flatten(1)[:, None]
            corner = table.index_select(0, index.flatten())
            value = value + corner * weight.view(-1, 1)
    # to (R, C, P, Q, samples), in the order in which mmcv goes through them
    value = value.view(r, p, gy, q, gx, -1).permute(0, 5, 1, 3, 2, 4)
    exists = y.exists[:, :, :, None] & x.exists[:, :, None]
    value = value.masked_fill(~exists[:, None, None], -torch.inf)
    value, sample = value.flatten(4).max(4)
    found = value > LOWEST
    places = []
    for axis, index, dim in (
        (y, sample // gx, 2),
        (x, sample % gx, 3),
    ):
        shape = [r, 1, 1, 1, axis.place.size(2)]
        shape[dim] = axis.place.size(1)
        place = axis.place.view(shape).expand(*value.shape, -1)
        place = place.gather(4, index[..., None])[..., 0]
        places.append(torch.where(found, place, -1.0))
    return torch.where(found, value, LOWEST), *places


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
