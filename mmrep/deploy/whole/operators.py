"""NMS and RoIAlign as single graph nodes, which ONNX also has.

``torch.export`` cannot trace MMCV's operators, whose results have sizes that
depend on the picture. Here each becomes an operator of mmrep with a result of
fixed size. MMCV's own operator computes it when a program runs, and it is
written to ONNX as ``NonMaxSuppression`` and ``RoiAlign``.
"""

from typing import Any, Callable, Dict

import torch
from torch import Tensor

# A score below every threshold.
NOTHING = -1.0
# ONNX's type numbers.
INT64, BOOL = 7, 9


@torch.library.custom_op('mmrep::nms_mask', mutates_args=())
def nms_mask(
    boxes: Tensor, scores: Tensor, iou_threshold: float, count: int
) -> Tensor:
    """Mask of the boxes of each image that non-maximum suppression keeps.

    Args:
        boxes (Tensor): Shape (N, M, 4), as (x1, y1, x2, y2).
        scores (Tensor): Shape (N, M); boxes with a negative score are ignored.
        iou_threshold (float): A box is removed if its IoU with a kept box of a
            higher score is above this.
        count (int): Largest number of boxes to keep per image, by score.

    Returns:
        Tensor: Shape (N, M), bool.
    """
    from mmcv.ops import nms

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        places = (score >= 0).nonzero().squeeze(1)
        if len(places):
            _, order = nms(box[places], score[places], iou_threshold)
            kept[i, places[order[:count]]] = True
    return kept


@nms_mask.register_fake
def _(
    boxes: Tensor, scores: Tensor, iou_threshold: float, count: int
) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op('mmrep::roi_align', mutates_args=())
def roi_align(
    maps: Tensor,
    rois: Tensor,
    height: int,
    width: int,
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average-pool a feature map in each RoI to a fixed size.

    Args:
        maps (Tensor): Shape (N, C, H, W).
        rois (Tensor): Shape (R, 5), as (image, x1, y1, x2, y2).
        height (int): Height of the result.
        width (int): Width of the result.
        scale (float): Factor from coordinates of RoIs to those of the map.
        sampling_ratio (int): Samples of a bin along each axis; 0 means one per
            pixel.
        aligned (bool): Whether pixel centres are at halves.

    Returns:
        Tensor: Shape (R, C, height, width).
    """
    from mmcv.ops import roi_align

    return roi_align(
        maps, rois, (height, width), scale, sampling_ratio, 'avg', aligned
    )


@roi_align.register_fake
def _(
    maps: Tensor,
    rois: Tensor,
    height: int,
    width: int,
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return maps.new_empty(rois.size(0), maps.size(1), height, width)


def onnx_translations() -> Dict[Callable, Callable]:
    """Translations of each operator for torch's ONNX exporter."""
    from onnxscript import opset18 as op

    def nms_mask(
        boxes: Any, scores: Any, iou_threshold: float, count: int
    ) -> Any:
        selected = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, [1]),
            op.Constant(value_ints=[count]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[NOTHING / 2]),
        )
        # rows of (image, class, box); the standard does not define their order
        places = op.Gather(selected, [0, 2], axis=1)
        chosen = op.GreaterOrEqual(op.Gather(selected, 0, axis=1), 0)
        none = op.Expand(op.Cast(0, to=BOOL), op.Shape(scores))
        return op.ScatterND(none, places, chosen)

    def roi_align(
        maps: Any,
        rois: Any,
        height: int,
        width: int,
        scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> Any:
        image = op.Cast(op.Gather(rois, 0, axis=1), to=INT64)
        return op.RoiAlign(
            maps,
            op.Slice(rois, [1], [5], [1]),
            image,
            coordinate_transformation_mode=(
                'half_pixel' if aligned else 'output_half_pixel'
            ),
            mode='avg',
            output_height=height,
            output_width=width,
            sampling_ratio=sampling_ratio,
            spatial_scale=scale,
        )

    return {
        torch.ops.mmrep.nms_mask.default: nms_mask,
        torch.ops.mmrep.roi_align.default: roi_align,
    }
