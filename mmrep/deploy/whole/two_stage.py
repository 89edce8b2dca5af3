"""Whole two-stage detectors: Faster, Mask and Cascade R-CNN."""

from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmrep.deploy.whole import boxes as B
from mmrep.deploy.whole.detections import WholeDetector
from mmrep.deploy.whole.operators import NOTHING, roi_align
from mmrep.deploy.whole.picture import MASKS
from mmrep.errors import UsageError


class WholeTwoStageDetector(WholeDetector):
    """A two-stage detector from the picture to boxes and masks.

    Args:
        model (nn.Module): MMDetection's ``TwoStageDetector``.
        input (str): As :class:`WholeModel` takes it. Defaults to 'picture'.
        masks (str): 'pasted' for masks of the picture's size, 'raw' for
            probabilities in the box. Defaults to 'pasted'.

    Raises:
        UsageError: If a part of it predicts in a way of its own.
    """

    def __init__(
        self, model: nn.Module, input: str = 'picture', masks: str = 'pasted'
    ) -> None:
        super().__init__(model, input)
        if masks not in MASKS:
            raise ValueError(f'masks must be one of {MASKS}, got {masks!r}.')
        self.masks = masks
        self.rpn_head = model.rpn_head
        strides = model.rpn_head.prior_generator.strides
        self.stride = max(max(s) for s in strides)
        roi_head = model.roi_head
        self.roi_head = roi_head
        self.cascade = isinstance(roi_head.bbox_head, nn.ModuleList)
        self.stages = self._stages('bbox')
        self.mask_stages = self._stages('mask') if roi_head.with_mask else []
        outputs = ('dets', 'labels', 'masks')
        self.names = outputs if self.mask_stages else outputs[:2]
        self._check()

    @property
    def rules(self) -> Any:
        """``test_cfg`` of the RoI head."""
        return self.roi_head.test_cfg

    def _stages(self, kind: str) -> List[Tuple[nn.Module, nn.Module]]:
        """Each stage's extractor of RoIs and its head."""
        parts = [
            getattr(self.roi_head, name)
            for name in (f'{kind}_roi_extractor', f'{kind}_head')
        ]
        if self.cascade:
            return list(zip(*parts, strict=True))
        return [tuple(parts)]

    def _check(self) -> None:
        from mmdet.models.dense_heads import RPNHead
        from mmdet.models.roi_heads import (
            CascadeRoIHead,
            FCNMaskHead,
            SingleRoIExtractor,
            StandardRoIHead,
        )
        from mmdet.models.roi_heads.bbox_heads import BBoxHead

        base = CascadeRoIHead if self.cascade else StandardRoIHead
        predicts = ('predict', 'predict_by_feat', '_predict_by_feat_single')
        checks: List[tuple] = [
            (self.rpn_head, RPNHead, *predicts, '_bbox_post_process'),
            (self.roi_head, base, 'predict_bbox', 'predict_mask'),
            (self.roi_head, base, '_bbox_forward', '_mask_forward'),
        ]
        methods = ('predict_by_feat', '_predict_by_feat_single')
        for _, head in self.stages:
            checks.append((head, BBoxHead, *methods, 'regress_by_class'))
            B.check_coder(head)
        for _, head in self.mask_stages:
            checks.append((head, FCNMaskHead, *methods))
        for extractor, _ in (*self.stages, *self.mask_stages):
            checks.append((extractor, SingleRoIExtractor, 'forward'))
            if getattr(extractor.roi_layers[0], 'pool_mode', '') != 'avg':
                kind = type(extractor.roi_layers[0]).__name__
                raise UsageError(
                    'a whole detector cannot be exported with the roi_layer '
                    f'{kind} of its RoI extractor, only with RoIAlign.'
                )
        for check in checks:
            B.check_methods(*check)
        if getattr(self.roi_head, 'with_shared_head', False):
            raise UsageError(
                'a whole detector with a shared_head cannot be exported; '
                '--part neck exports what comes before it.'
            )
        B.check_coder(self.rpn_head)
        cfg = self.rpn_head.test_cfg
        B.check_nms(cfg, self.rpn_head, 'nms_pre', 'max_per_img')
        B.check_nms(self.roi_head.test_cfg, self.roi_head, 'max_per_img')

    def forward(self, image: Tensor) -> Tuple[Tensor, ...]:
        """Images (N, C, H, W) to dets (N, num, 5), labels and masks."""
        size = image.shape[2:]
        maps = self.neck(self.backbone(self.prepare(image)))
        found = self.refine(maps, *self.propose(maps, size), size)
        outputs = B.detections(*found)
        if self.mask_stages:
            boxes, _, labels = found
            masks = self.segment(maps, boxes, labels)
            if self.masks == 'pasted':
                masks = self.paste(masks, boxes, size)
            outputs.append(masks)
        return tuple(outputs)

    def propose(
        self, maps: Sequence[Tensor], size: Sequence[int]
    ) -> Tuple[Tensor, Tensor]:
        """Proposals (N, P, 4) of the RPN, and which of them are there."""
        head = self.rpn_head
        cfg = head.test_cfg
        levels = []
        for i, (scores, codes) in enumerate(zip(*head(maps), strict=True)):
            priors = B.grid_priors(head.prior_generator, i, scores)
            scores = B.rows(scores, head.cls_out_channels)
            if head.use_sigmoid_cls:
                scores = scores.sigmoid()[..., 0]
            else:
                scores = scores.softmax(-1)[..., 0]
            scores, places = B.best(scores, cfg['nms_pre'])
            priors = B.take(priors.expand(scores.size(0), -1, -1), places)
            codes = B.take(B.rows(codes, 4), places)
            ids = torch.full_like(places, i)
            levels.append([priors, codes, scores, ids])
        priors, codes, scores, ids = (
            torch.cat(parts, 1) for parts in zip(*levels, strict=True)
        )
        boxes = B.decode(head.bbox_coder, priors, codes, size)
        least = cfg.get('min_bbox_size', -1)
        scores = B.without_small(boxes, scores, least)
        boxes, scores, _ = B.suppress(
            boxes, scores, ids, cfg['nms'], cfg['max_per_img']
        )
        return boxes, scores >= 0

    def refine(
        self,
        maps: Sequence[Tensor],
        boxes: Tensor,
        there: Tensor,
        size: Sequence[int],
    ) -> B.Boxes:
        """Boxes, scores and labels from proposals (N, P, 4)."""
        images, proposals = boxes.shape[:2]
        total: Any = None
        for i, (extractor, head) in enumerate(self.stages):
            features = extract(extractor, maps, B.as_rois(boxes))
            scores, codes = head(features)
            total = scores if total is None else total + scores
            codes = codes.reshape(images, proposals, -1, 4)
            if i < len(self.stages) - 1:
                if not head.reg_class_agnostic:
                    chosen = scores[:, :-1].argmax(1)
                    chosen = chosen.reshape(images, proposals, 1, 1)
                    codes = codes.gather(2, chosen.expand(-1, -1, 1, 4))
                boxes = B.decode(
                    head.bbox_coder, boxes, codes.squeeze(2), size
                )
        scores = (total / len(self.stages)).softmax(-1)[:, :-1]
        scores = scores.reshape(images, proposals, -1)
        classes = scores.size(-1)
        boxes = B.decode(head.bbox_coder, boxes.unsqueeze(2), codes, size)
        boxes = boxes.expand(-1, -1, classes, -1).flatten(1, 2)
        labels = torch.arange(classes, device=scores.device)
        labels = labels.expand_as(scores).flatten(1)
        cfg = self.roi_head.test_cfg
        valid = (scores > cfg['score_thr']) & there.unsqueeze(-1)
        scores = torch.where(valid, scores, NOTHING).flatten(1)
        return B.suppress(
            boxes, scores, labels, cfg['nms'], cfg['max_per_img']
        )

    def segment(
        self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor
    ) -> Tensor:
        """Probabilities (N, num, h, w) within boxes."""
        rois = B.as_rois(boxes)
        chosen = labels.reshape(-1, 1, 1, 1)
        total: Any = 0
        for extractor, head in self.mask_stages:
            masks = head(extract(extractor, maps, rois)).sigmoid()
            if head.class_agnostic:
                masks = masks[:, :1]
            else:
                masks = masks.gather(1, chosen.expand(-1, 1, *masks.shape[2:]))
            total = total + masks
        masks = total / len(self.mask_stages)
        return masks.reshape(*boxes.shape[:2], *masks.shape[2:])

    def paste(
        self, masks: Tensor, boxes: Tensor, size: Sequence[int]
    ) -> Tensor:
        """Masks (N, num, H, W), bool, from probabilities within boxes."""
        pasted = B.paste(masks.flatten(0, 1), boxes.flatten(0, 1), size)
        there = (boxes[..., 2:] > boxes[..., :2]).all(-1).flatten()
        pasted = pasted >= self.roi_head.test_cfg['mask_thr_binary']
        pasted = pasted & there[:, None, None]
        return pasted.unflatten(0, boxes.shape[:2])


def extract(
    extractor: nn.Module, maps: Sequence[Tensor], rois: Tensor
) -> Tensor:
    """Features (R, C, h, w) of RoIs (R, 5), each from its level.

    On each level all RoIs are pooled; those of other levels have no area
    there, so that they cost next to nothing.
    """
    maps = maps[: extractor.num_inputs]
    levels = extractor.map_roi_levels(rois, len(maps))
    total: Any = 0
    for i, (layer, level) in enumerate(
        zip(extractor.roi_layers, maps, strict=True)
    ):
        own = (levels == i).unsqueeze(1)
        height, width = layer.output_size
        pooled = roi_align(
            level.contiguous(),
            torch.cat([rois[:, :1], torch.where(own, rois[:, 1:], 0.0)], 1),
            height,
            width,
            float(layer.spatial_scale),
            int(layer.sampling_ratio),
            bool(layer.aligned),
        )
        total = total + torch.where(own[:, :, None, None], pooled, 0.0)
    return total
