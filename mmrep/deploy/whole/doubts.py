"""Decisions that depend on the last digits, where two runtimes may differ."""

from typing import Any, List

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


def doubtful_boxes(levels: List[List[Tensor]], cfg: Any) -> Tensor:
    """Boxes (n, 4) of an image that selection may or may not keep.

    Args:
        levels (list[list[Tensor]]): Boxes, sorted scores and number of each
            level, one more than its ``nms_pre``.
        cfg: ``test_cfg`` of the head that selects.
    """
    count = cfg['nms_pre']
    found = [b[near_cut(scores, count)] for b, scores, _ in levels]
    boxes, scores, ids = (
        torch.cat([part[:count] for part in parts])
        for parts in zip(*levels, strict=True)
    )
    boxes, scores, ids = (part[scores >= 0] for part in (boxes, scores, ids))
    limit, most = cfg['nms']['iou_threshold'], cfg['max_per_img']
    kept = nms_mask(
        (boxes + ids.unsqueeze(1) * (boxes.max() + 1))[None],
        scores[None], limit, len(scores),
    )[0].nonzero().squeeze(1)  # fmt: skip
    kept = kept[scores[kept].argsort(descending=True)]
    found.append(boxes[kept][near_cut(scores[kept], most)])
    kept = kept[:most]
    found.append(boxes[near_suppression(boxes, scores, ids, kept, limit)])
    return torch.cat(found)
