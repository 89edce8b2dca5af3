"""Decisions that depend on the last digits, where two runtimes may differ."""

import torch
from torch import Tensor

from mmrep.deploy.whole.operators import nms_mask

# How near to a threshold a score or an IoU may fall on either side.
NEAR = 1e-5


def ious(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    boxes = boxes.unsqueeze(1)
    start = torch.maximum(boxes[..., :2], others[:, :2])
    end = torch.minimum(boxes[..., 2:], others[:, 2:])
    inter = (end - start).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others)]
    return inter / (areas[0] + areas[1] - inter)


def near_cut(scores: Tensor, count: int) -> Tensor:
    """Mask of sorted scores that may or may not be in the first ``count``.

    Returns:
        Tensor: Shape (M, ), bool.
    """
    if len(scores) <= count or scores[count - 1 : count + 1].min() < 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    first, last = scores[count] + NEAR, scores[count - 1] - NEAR
    return (scores >= last) & (scores <= first)


def kept_by_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, limit: float
) -> Tensor:
    """Indices, shape (K, ), of what non-maximum suppression keeps.

    Args:
        boxes (Tensor): Shape (M, 4).
        scores (Tensor): Shape (M, ).
        labels (Tensor): Shape (M, ); only boxes of one label compete.
        limit (float): The IoU threshold.
    """
    if not len(boxes):
        return labels
    apart = boxes + labels.unsqueeze(1) * (boxes.max() + 1)
    kept = nms_mask(apart[None], scores[None], limit, len(scores))[0]
    return kept.nonzero().squeeze(1)


def near_suppression(
    boxes: Tensor, scores: Tensor, labels: Tensor, kept: Tensor, limit: float
) -> Tensor:
    """Mask of boxes that non-maximum suppression may or may not keep.

    Args:
        boxes (Tensor): Shape (M, 4).
        scores (Tensor): Shape (M, ).
        labels (Tensor): Shape (M, ).
        kept (Tensor): Indices of those that it kept, shape (K, ).
        limit (float): Its IoU threshold.

    Returns:
        Tensor: Shape (M, ), bool.
    """
    found = ious(boxes, boxes[kept])
    tied = (scores.unsqueeze(1) - scores[kept]).abs() <= NEAR
    doubt = ((found - limit).abs() <= NEAR) | ((found > limit) & tied)
    doubt &= labels.unsqueeze(1) == labels[kept]
    doubt[kept, torch.arange(len(kept), device=kept.device)] = False
    return doubt.any(1)
