"""Operators as plain loops over boxes, bins and samples."""

import math

import torch


def iou(a, b, offset):
    def area(box):
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    union = area(a) + area(b) - width * height
    return width * height / union if union else math.nan


def nms(boxes, scores, threshold, offset):
    boxes = boxes.double().tolist()
    kept = []
    for i in scores.sort(descending=True, stable=True)[1].tolist():
        if all(not iou(boxes[i], boxes[k], offset) > threshold for k in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


def softnms(boxes, scores, threshold, sigma, min_score, method, offset):
    """Dets and indices; for scores without ties."""
    left = dict(enumerate(scores.double().tolist()))
    boxes = boxes.double().tolist()
    dets, inds = [], []
    while left:
        best = max(left, key=left.get)
        dets.append([*boxes[best], left.pop(best)])
        inds.append(best)
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 2:
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap if method == 1 else 0
            if left[i] < min_score:
                del left[i]
    dets = torch.tensor(dets, dtype=torch.double).view(-1, 5)
    return dets, torch.tensor(inds, dtype=torch.long)


def sample(plane, y, x):
    """Bilinear value of (C, H, W) at a point, zero outside."""
    h, w = plane.shape[1:]
    if y < -1 or y > h or x < -1 or x > w:
        return plane.new_zeros(plane.size(0))
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    dy, dx = y - y0, x - x0
    top = plane[:, y0, x0] * (1 - dx) + plane[:, y0, x1] * dx
    bottom = plane[:, y1, x0] * (1 - dx) + plane[:, y1, x1] * dx
    return top * (1 - dy) + bottom * dy


def roi_align(x, rois, bins, scale, ratio, pool_mode, aligned):
    """Differentiable; shape (R, C, P, Q)."""
    out = []
    for image, *box in rois.double().tolist():
        x1, y1, x2, y2 = (v * scale - 0.5 * aligned for v in box)
        sides = [y2 - y1, x2 - x1]
        if not aligned:
            sides = [max(side, 1) for side in sides]
        step = [side / count for side, count in zip(sides, bins, strict=True)]
        grid = [ratio or math.ceil(s) for s in step]
        for p in range(bins[0]):
            for q in range(bins[1]):
                values = [
                    sample(
                        x[int(image)],
                        y1 + (p + (i + 0.5) / grid[0]) * step[0],
                        x1 + (q + (j + 0.5) / grid[1]) * step[1],
                    )
                    for i in range(grid[0])
                    for j in range(grid[1])
                ]
                if values:
                    values = torch.stack(values)
                    value = values.mean(0) if pool_mode else values.amax(0)
                else:
                    value = torch.full_like(x[0, :, 0, 0], -1e4)
                    value = value * (1 - pool_mode)
                out.append(value)
    if not out:
        return x.new_zeros(0, x.size(1), *bins)
    return torch.stack(out, 1).unflatten(1, (-1, *bins)).transpose(0, 1)
