"""Box operations of detectors, in steps of fixed sizes.

MMDetection drops boxes below a threshold, so its tensors have sizes that
depend on the picture. Here a dropped box stays, with the score ``NOTHING``,
and comes last.
"""

from typing import Any, List, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmrep.deploy.whole.operators import NOTHING, nms_mask
from mmrep.errors import UsageError

Boxes = Tuple[Tensor, Tensor, Tensor]


def check_coder(head: Any) -> None:
    """Raise an error if a head codes its boxes in another way."""
    from mmdet.models.task_modules.coders import (
        DeltaXYWHBBoxCoder,
        DistancePointBBoxCoder,
    )

    coder = head.bbox_coder
    if type(coder) not in (DeltaXYWHBBoxCoder, DistancePointBBoxCoder):
        raise unsupported(head, f'its bbox_coder {type(coder).__name__}')


def check_nms(cfg: Any, head: Any, *counts: str) -> None:
    """Raise an error if a head selects its boxes in another way."""
    nms = cfg.get('nms') or {}
    if nms.get('type') != 'nms':
        raise unsupported(head, f'its NMS {nms.get("type")}')
    known = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}
    if 'iou_threshold' not in nms or set(nms) - known:
        raise unsupported(head, f'the settings of its NMS, {dict(nms)}')
    for name in counts:
        if cfg.get(name, -1) <= 0:
            raise unsupported(head, f'its test_cfg without a {name}')


def check_methods(part: Any, base: type, *methods: str) -> None:
    """Raise an error if a part overrides the prediction of its base class."""
    for name in methods:
        if getattr(type(part), name, None) is not getattr(base, name):
            raise unsupported(part, f'its own {name}')


def unsupported(part: Any, why: str) -> UsageError:
    """The error for a part that cannot be exported."""
    return UsageError(
        f'a whole detector with {type(part).__name__} cannot be exported, '
        f'because of {why}; --part neck exports what comes before it.'
    )


def grid_priors(generator: Any, level: int, maps: Tensor) -> Tensor:
    """Anchors (H x W x A, 4) or points (H x W, 2) of a map (N, C, H, W)."""
    height, width = maps.shape[2:]
    stride_x, stride_y = generator.strides[level]
    x = torch.arange(width, device=maps.device)
    y = torch.arange(height, device=maps.device)
    anchors = getattr(generator, 'base_anchors', None)
    if anchors is None:
        x, y = x + generator.offset, y + generator.offset
    x = (x.to(maps) * stride_x)[None].expand(height, width)
    y = (y.to(maps) * stride_y)[:, None].expand(height, width)
    if anchors is None:
        return torch.stack([x, y], -1).reshape(-1, 2)
    shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (anchors[level].to(maps)[None] + shifts).reshape(-1, 4)


def decode(
    coder: Any, priors: Tensor, codes: Tensor, size: Sequence[int]
) -> Tensor:
    """Boxes (..., 4) from the output of a head.

    Args:
        coder: MMDetection's ``DeltaXYWHBBoxCoder`` or
            ``DistancePointBBoxCoder``.
        priors (Tensor): Shape (..., 4), or (..., 2) for points.
        codes (Tensor): Shape (..., 4).
        size (tuple[int, int]): Height and width to clip to.
    """
    if priors.size(-1) == 2:
        boxes = torch.cat(
            [priors - codes[..., :2], priors + codes[..., 2:]], -1
        )
    else:
        codes = codes * codes.new_tensor(coder.stds)
        codes = codes + codes.new_tensor(coder.means)
        shift, scale = codes[..., :2], codes[..., 2:]
        sides = priors[..., 2:] - priors[..., :2]
        shift = sides * shift
        # the largest factor of a side, which is not in the coder's config
        limit = float(np.abs(np.log(16 / 1000)))
        if coder.add_ctr_clamp:
            shift = shift.clamp(-coder.ctr_clamp, coder.ctr_clamp)
            scale = scale.clamp(max=limit)
        else:
            scale = scale.clamp(-limit, limit)
        centre = (priors[..., :2] + priors[..., 2:]) * 0.5 + shift
        sides = sides * scale.exp()
        boxes = torch.cat([centre - sides * 0.5, centre + sides * 0.5], -1)
    if not coder.clip_border:
        return boxes
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        [
            x1.clamp(0, width),
            y1.clamp(0, height),
            x2.clamp(0, width),
            y2.clamp(0, height),
        ],
        -1,
    )


def take(values: Tensor, places: Tensor) -> Tensor:
    """Rows (N, k, D) of (N, M, D) at places (N, k)."""
    return values.gather(
        1, places.unsqueeze(-1).expand(-1, -1, values.size(-1))
    )


def best(scores: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """The ``count`` highest of scores (N, M), and their places."""
    padded = F.pad(scores, (0, count), value=NOTHING)
    found, places = padded.topk(count)
    return found, places.clamp(max=scores.size(1) - 1)


def rows(maps: Tensor, length: int) -> Tensor:
    """A map (N, A x length, H, W) as (N, H x W x A, length)."""
    return maps.permute(0, 2, 3, 1).reshape(maps.size(0), -1, length)


def without_small(boxes: Tensor, scores: Tensor, least: float) -> Tensor:
    """Scores (N, M) of the boxes (N, M, 4) whose sides exceed ``least``."""
    if least < 0:
        return scores
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.where((sides > least).all(-1), scores, NOTHING)


def suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, cfg: Any, count: int
) -> Boxes:
    """Non-maximum suppression within each label.

    Args:
        boxes (Tensor): Shape (N, M, 4).
        scores (Tensor): Shape (N, M).
        labels (Tensor): Shape (N, M).
        cfg: MMCV's config of the NMS.
        count (int): Number of boxes to keep per image.

    Returns:
        tuple[Tensor, Tensor, Tensor]: ``count`` boxes, scores and labels, the
            highest scores first; if there are fewer, padded with zeros and the
            score ``NOTHING``.
    """
    shifted = boxes
    if not cfg.get('class_agnostic', False):
        # boxes of different labels do not overlap, as in MMCV's batched_nms
        valid = (scores >= 0).unsqueeze(-1)
        far = torch.where(valid, boxes, 0.0).amax((1, 2), keepdim=True) + 1
        shifted = boxes + labels.unsqueeze(-1).to(boxes) * far
    kept = nms_mask(
        shifted.contiguous(), scores.contiguous(), cfg['iou_threshold'], count
    )
    scores, places = best(torch.where(kept, scores, NOTHING), count)
    boxes = torch.where((scores >= 0).unsqueeze(-1), take(boxes, places), 0.0)
    return boxes, scores, labels.gather(1, places)


def detections(boxes: Tensor, scores: Tensor, labels: Tensor) -> List[Tensor]:
    """Outputs in MMDeploy's form: (N, num, 5), and labels (N, num)."""
    there = scores >= 0
    dets = torch.cat([boxes, scores.clamp(min=0).unsqueeze(-1)], -1)
    return [dets, torch.where(there, labels, -1)]


def as_rois(boxes: Tensor) -> Tensor:
    """Boxes (N, M, 4) as RoIs (N x M, 5)."""
    images = torch.arange(boxes.size(0), device=boxes.device).to(boxes)
    images = images[:, None, None].expand(-1, boxes.size(1), 1)
    return torch.cat([images, boxes], -1).flatten(0, 1)


def paste(masks: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (R, h, w) in their boxes (R, 4), on pictures of ``size``.

    Bilinear resizing is linear in each axis, so it is two matrix products.

    Returns:
        Tensor: Shape (R, H, W), zero outside the boxes.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    down = _weights(y1, y2, size[0], masks.size(1))
    across = _weights(x1, x2, size[1], masks.size(2))
    return down @ masks @ across.transpose(1, 2)


def _weights(start: Tensor, end: Tensor, length: int, bins: int) -> Tensor:
    """Weight (R, length, bins) of each bin in each pixel of an axis."""
    pixels = torch.arange(length, device=start.device).to(start) + 0.5
    # a box without a side has no pixels
    side = (end - start).clamp(min=1e-6).unsqueeze(1)
    places = (pixels - start.unsqueeze(1)) / side * bins - 0.5
    centres = torch.arange(bins, device=start.device).to(start)
    return (1 - (places.unsqueeze(-1) - centres).abs()).clamp(min=0)
