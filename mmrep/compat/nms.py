"""Non-maximum suppression with the interface of ``mmcv._ext``."""

import numpy as np
import torch
from torch import Tensor

from .torchvision import has_kernel

# Number of boxes that a step decides on, and that it compares with.
BLOCK = {'cpu': 128, 'cuda': 1024}
TILE = {'cpu': 2048, 'cuda': 65536}


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes (Tensor): Shape (N, 4), as (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ).
        iou_threshold (float): A box is removed if its IoU with a kept box of a
            higher score is above this.
        offset (int): Added to the sides of boxes, 0 or 1.

    Returns:
        Tensor: Indices of the kept boxes, the highest scores first.
    """
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    device = boxes.device.type
    if offset == 0 and has_kernel('nms', device):
        # like mmcv, compare in single precision
        threshold = float(np.float32(iou_threshold))
        return torch.ops.torchvision.nms(
            boxes, scores.to(boxes.dtype), threshold
        )
    order = scores.sort(0, descending=True)[1]
    boxes = boxes[order].t().contiguous()
    sides = boxes[2:] - boxes[:2] + offset
    boxes = torch.cat([boxes, sides[:1] * sides[1:]])
    block = BLOCK.get(device, BLOCK['cuda'])
    tile = TILE.get(device, TILE['cuda'])
    left = torch.arange(boxes.size(1), device=boxes.device)
    kept = []
    while left.numel():
        head = boxes[:, :block]
        over = _overlap(head, head, iou_threshold, offset).triu_(1)
        keep = _greedy(over)
        kept.append(left[:block][keep])
        head, boxes, left = head[:, keep], boxes[:, block:], left[block:]
        alive = [
            ~_overlap(head, part, iou_threshold, offset).any(0)
            for part in boxes.split(tile, dim=1)
        ]
        if left.numel():
            alive = torch.cat(alive)
            boxes, left = boxes[:, alive], left[alive]
    return order[torch.cat(kept)]


def _overlap(a: Tensor, b: Tensor, threshold: float, offset: int) -> Tensor:
    """Whether boxes (5, N) and (5, M) overlap too much: (N, M).

    The order of operations is that of mmcv, so rounding is the same.
    """
    a = a[:, :, None]
    b = b[:, None]
    width = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0]))
    height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1]))
    if offset:
        width += offset
        height += offset
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return inter.div_((a[4] + b[4]).sub_(inter)) > threshold


def _greedy(over: Tensor) -> Tensor:
    """Mask of boxes that stay; ``over[i, j]``: i removes j, for i < j.

    The answer is the only fixed point of "a box stays if no box that stays
    removes it", and each round decides at least one more box.
    """
    keep = over.new_ones(over.size(0))
    while True:
        again = ~over[keep].any(0)
        if torch.equal(again, keep):
            return keep
        keep = again


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS on the CPU: overlapping boxes lose score.

    Args:
        boxes (Tensor): Shape (N, 4), as (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ).
        dets (Tensor): Shape (N, 5); receives the boxes and new scores.
        iou_threshold (float): Methods 0 and 1 apply from this IoU on.
        sigma (float): Width of method 2.
        min_score (float): Boxes that fall below are dropped.
        method (int): 0 drops boxes, 1 scales linearly, 2 scales with a
            Gaussian.
        offset (int): Added to the sides of boxes, 0 or 1.

    Returns:
        Tensor: Indices of the remaining boxes, in the order of ``dets``.
    """
    dtype = torch.promote_types(boxes.dtype, torch.float32)
    table = torch.cat([boxes, scores[:, None]], 1).to(dtype).t()
    # x1, y1, x2, y2, score, area; the position of boxes decides ties
    table = np.ascontiguousarray(table.detach().cpu().numpy())
    sides = table[2:4] - table[:2] + table.dtype.type(offset)
    table = np.concatenate([table, sides[:1] * sides[1:]])
    inds = np.arange(table.shape[1])
    threshold, sigma, min_score = np.array(
        [iou_threshold, sigma, min_score], table.dtype
    )
    first = 0
    with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
        while first < inds.size:
            best = first + _first_best(table[4, first:])
            table[:, [first, best]] = table[:, [best, first]]
            inds[[first, best]] = inds[[best, first]]
            top, rest = table[:, first], table[:, first + 1 :]
            iou = _iou(top, rest, offset)
            if method == 2:
                rest[4] *= np.exp(-(iou * iou) / sigma)
            else:
                weight = 1 - iou if method == 1 else table.dtype.type(0)
                rest[4] *= np.where(iou >= threshold, weight, 1)
            first += 1
            dropped = rest[4] < min_score
            if dropped.any():
                # the last boxes move into the gaps
                size = rest.shape[1] - np.count_nonzero(dropped)
                gaps = np.flatnonzero(dropped[:size])
                movers = np.flatnonzero(~dropped[size:])[::-1] + size
                rest[:, gaps] = rest[:, movers]
                inds[first + gaps] = inds[first + movers]
                table, inds = table[:, : first + size], inds[: first + size]
    dets[: inds.size] = torch.from_numpy(table[:5].T)
    return torch.from_numpy(inds)


def _first_best(scores: np.ndarray) -> int:
    """Index of the first highest score; a leading NaN stays first."""
    best = int(scores.argmax())  # stops at the first NaN
    if best and np.isnan(scores[best]):
        best = int(np.where(np.isnan(scores), -np.inf, scores).argmax())
    return best


def _iou(top: np.ndarray, rest: np.ndarray, offset: int) -> np.ndarray:
    """IoU of one box, shape (6, ), with others, shape (6, N)."""
    zero, offset = rest.dtype.type(0), rest.dtype.type(offset)
    width = np.minimum(top[2], rest[2]) - np.maximum(top[0], rest[0])
    height = np.minimum(top[3], rest[3]) - np.maximum(top[1], rest[1])
    inter = np.maximum(zero, width + offset) * np.maximum(
        zero, height + offset
    )
    return inter / (top[5] + rest[5] - inter)
