"""Whole one-stage detectors, such as FCOS, RetinaNet and ATSS."""

from typing import Any, List, Tuple

import torch
from torch import Tensor, nn

from mmrep.deploy.whole import boxes as B
from mmrep.deploy.whole.detections import WholeDetector
from mmrep.deploy.whole.doubts import (
    NEAR,
    kept_by_nms,
    near_cut,
    near_suppression,
)
from mmrep.deploy.whole.operators import NOTHING


class WholeDenseDetector(WholeDetector):
    """A one-stage detector from the picture to the boxes.

    Args:
        model (nn.Module): MMDetection's ``SingleStageDetector``.
        input (str): See :class:`WholeModel`. Defaults to 'picture'.

    Raises:
        UsageError: If its head predicts in its own way.
    """

    names = ('dets', 'labels')

    def __init__(self, model: nn.Module, input: str = 'picture') -> None:
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        from mmdet.models.detectors import SingleStageDetector

        B.check_methods(model, SingleStageDetector, 'predict', 'extract_feat')
        head = model.bbox_head
        B.check_methods(
            head,
            BaseDenseHead,
            'predict',
            'predict_by_feat',
            '_predict_by_feat_single',
            '_bbox_post_process',
        )
        B.check_coder(head)
        if getattr(head.loss_cls, 'custom_cls_channels', False):
            raise B.unsupported(head, f'its {type(head.loss_cls).__name__}')
        B.check_nms(head.test_cfg, head, 'nms_pre', 'max_per_img')
        if head.test_cfg.get('min_bbox_size', -1) > 0:
            # in pixels of the original picture, which a file does not know
            raise B.unsupported(head, 'its test_cfg with a min_bbox_size')
        super().__init__(model, input)
        self.head = head
        self.stride = max(max(s) for s in head.prior_generator.strides)

    @property
    def rules(self) -> Any:
        """``test_cfg`` of the head."""
        return self.head.test_cfg

    def forward(self, image: Tensor) -> Tuple[Tensor, ...]:
        """Images (N, C, H, W) to dets (N, num, 5) and labels (N, num)."""
        maps = self.neck(self.backbone(self.prepare(image)))
        found = self.candidates(maps, image.shape[2:])
        cfg = self.head.test_cfg
        found = B.suppress(*found, cfg['nms'], cfg['max_per_img'])
        return tuple(B.detections(*found))

    def candidates(self, maps: Any, size: Tuple[int, int]) -> B.Boxes:
        """The input of NMS: boxes, scores and labels of all levels."""
        cfg = self.head.test_cfg
        levels: List[List[Tensor]] = []
        for i, outputs in enumerate(zip(*self.head(maps), strict=True)):
            levels.append(self._level(i, cfg, *outputs)[:4])
        priors, codes, scores, labels = (
            torch.cat(parts, 1) for parts in zip(*levels, strict=True)
        )
        boxes = B.decode(self.head.bbox_coder, priors, codes, size)
        least = cfg.get('min_bbox_size', -1)
        return boxes, B.without_small(boxes, scores, least), labels

    def doubtful_candidates(self, image: Tensor) -> List[Tensor]:
        """See :meth:`WholeDetector.doubtful_candidates`.

        The threshold applies to scores before they are multiplied by the
        centerness, so the scores of detections do not show how near they were.
        """
        cfg = self.head.test_cfg
        least, count = cfg.get('score_thr', 0), cfg['nms_pre']
        wider = {**cfg, 'score_thr': least - NEAR, 'nms_pre': count + 1}
        found: List[List[Tensor]] = [[] for _ in image]
        with torch.no_grad():
            maps = self.neck(self.backbone(self.prepare(image)))
            for i, outputs in enumerate(zip(*self.head(maps), strict=True)):
                priors, codes, _, _, own = self._level(i, wider, *outputs)
                boxes = B.decode(
                    self.head.bbox_coder, priors, codes, image.shape[2:]
                )
                for part, box, scores in zip(found, boxes, own, strict=True):
                    near = (scores - least).abs() <= NEAR
                    part.append(box[near | near_cut(scores, count)])
            rows = zip(*self.candidates(maps, image.shape[2:]), strict=True)
            for part, (box, scores, labels) in zip(found, rows, strict=True):
                part.append(_tied(box, scores, labels, cfg['nms']))
        return [torch.cat(part) for part in found]

    def _level(
        self,
        level: int,
        cfg: Any,
        scores: Tensor,
        codes: Tensor,
        *factors: Tensor,
    ) -> List[Tensor]:
        """The best candidates of a level.

        Returns:
            list[Tensor]: Priors, codes, scores, labels, and the scores before
                they are multiplied by a factor.
        """
        head = self.head
        priors = B.grid_priors(head.prior_generator, level, scores)
        scores = B.rows(scores, head.cls_out_channels)
        if head.use_sigmoid_cls:
            scores = scores.sigmoid()
        else:
            scores = scores.softmax(-1)[..., :-1]
        classes = scores.size(-1)
        least = cfg.get('score_thr', 0)
        scores = torch.where(scores > least, scores, NOTHING).flatten(1)
        scores, places = B.best(scores, cfg['nms_pre'])
        labels, places = places % classes, places // classes
        own = scores
        if factors:
            factor = B.rows(factors[0], 1).sigmoid()
            factor = B.take(factor, places).squeeze(-1)
            scores = torch.where(scores >= 0, scores * factor, NOTHING)
        priors = B.take(priors.expand(scores.size(0), -1, -1), places)
        codes = B.take(B.rows(codes, 4), places)
        return [priors, codes, scores, labels, own]


def _tied(boxes: Tensor, scores: Tensor, labels: Tensor, cfg: Any) -> Tensor:
    """Boxes (n, 4) of an image that non-maximum suppression may keep or not.

    Args:
        boxes (Tensor): Shape (M, 4).
        scores (Tensor): Shape (M, ); negative ones do not count.
        labels (Tensor): Shape (M, ).
        cfg: MMCV's config of the NMS.
    """
    there = scores >= 0
    boxes, scores, labels = boxes[there], scores[there], labels[there]
    if cfg.get('class_agnostic', False):
        labels = torch.zeros_like(labels)
    limit = cfg['iou_threshold']
    kept = kept_by_nms(boxes, scores, labels, limit)
    return boxes[near_suppression(boxes, scores, labels, kept, limit)]
