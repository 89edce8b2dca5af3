"""Whole two-stage detectors: Faster, Mask and Cascade R-CNN."""

from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmrep.deploy.whole import boxes as B
from mmrep.deploy.whole.detections import Found, WholeDetector
from mmrep.deploy.whole.doubts import kept_by_nms, near_cut, near_suppression
from mmrep.deploy.whole.operators import NOTHING, roi_align
from mmrep.deploy.whole.picture import MASKS


class WholeTwoStageDetector(WholeDetector):
    """A two-stage detector from the picture to boxes and masks.

    Args:
        model (nn.Module): MMDetection's ``TwoStageDetector``.
        input (str): See :class:`WholeModel`. Defaults to 'picture'.
        masks (str): 'pasted' for masks of the picture's size, 'raw' for
            probabilities in the box. Defaults to 'pasted'.

    Raises:
        UsageError: If a part of it predicts in its own way.
    """

    def __init__(
        self, model: nn.Module, input: str = 'picture', masks: str = 'pasted'
    ) -> None:
        if masks not in MASKS:
            raise ValueError(f'masks must be one of {MASKS}, got {masks!r}.')
        _check_parts(model)
        super().__init__(model, input)
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
        self._check_stages()

    @property
    def rules(self) -> Any:
        """``test_cfg`` of the RoI head."""
        return self.roi_head.test_cfg

    def _stages(self, kind: str) -> List[Tuple[nn.Module, nn.Module]]:
        """RoI extractor and head of each stage."""
        parts = [
            getattr(self.roi_head, name)
            for name in (f'{kind}_roi_extractor', f'{kind}_head')
        ]
        if self.cascade:
            return list(zip(*parts, strict=True))
        return [tuple(parts)]

    def _check_stages(self) -> None:
        from mmdet.models.roi_heads import FCNMaskHead, SingleRoIExtractor
        from mmdet.models.roi_heads.bbox_heads import BBoxHead

        methods = ('predict_by_feat', '_predict_by_feat_single')
        for _, head in self.stages:
            B.check_methods(head, BBoxHead, *methods, 'regress_by_class')
            B.check_coder(head)
            if head.custom_cls_channels:
                raise B.unsupported(
                    head, f'its {type(head.loss_cls).__name__}'
                )
        for _, head in self.mask_stages:
            B.check_methods(head, FCNMaskHead, *methods)
        for extractor, _ in (*self.stages, *self.mask_stages):
            B.check_methods(extractor, SingleRoIExtractor, 'forward')
            layer = extractor.roi_layers[0]
            if getattr(layer, 'pool_mode', '') != 'avg':
                raise B.unsupported(
                    extractor, f'its {type(layer).__name__}, not RoIAlign'
                )

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
        """Proposals (N, P, 4) of the RPN, and which of them exist."""
        cfg = self.rpn_head.test_cfg
        levels = self.candidates(maps, size, cfg['nms_pre'])
        boxes, scores, ids = (
            torch.cat(parts, 1) for parts in zip(*levels, strict=True)
        )
        boxes, scores, _ = B.suppress(
            boxes, scores, ids, cfg['nms'], cfg['max_per_img']
        )
        return boxes, scores >= 0

    def candidates(
        self, maps: Sequence[Tensor], size: Sequence[int], count: int
    ) -> List[B.Boxes]:
        """The best of each level: boxes, scores and the level's number."""
        head = self.rpn_head
        least = head.test_cfg.get('min_bbox_size', -1)
        levels = []
        for i, (scores, codes) in enumerate(zip(*head(maps), strict=True)):
            priors = B.grid_priors(head.prior_generator, i, scores)
            scores = B.rows(scores, head.cls_out_channels)
            if head.use_sigmoid_cls:
                scores = scores.sigmoid()[..., 0]
            else:
                scores = scores.softmax(-1)[..., 0]
            scores, places = B.best(scores, count)
            priors = B.take(priors.expand(scores.size(0), -1, -1), places)
            codes = B.take(B.rows(codes, 4), places)
            boxes = B.decode(head.bbox_coder, priors, codes, size)
            scores = B.without_small(boxes, scores, least)
            levels.append((boxes, scores, torch.full_like(places, i)))
        return levels

    def doubtful_candidates(self, image: Tensor) -> List[Tensor]:
        """See :meth:`WholeDetector.doubtful_candidates`: proposals."""
        cfg = self.rpn_head.test_cfg
        count = cfg['nms_pre']
        with torch.no_grad():
            maps = self.neck(self.backbone(self.prepare(image)))
            levels = self.candidates(maps, image.shape[2:], count + 1)
        return [
            _doubtful([[part[i] for part in level] for level in levels], cfg)
            for i in range(len(image))
        ]

    def doubtful_pixels(
        self, images: Tensor, i: int, same: Sequence[Found], tolerance: float
    ) -> Tensor:
        """See :meth:`WholeDetector.doubtful_pixels`.

        In a thin box, a small shift of the box changes probabilities much.
        """
        image = images[i : i + 1]
        with torch.no_grad():
            maps = self.neck(self.backbone(self.prepare(image)))
            pasted = []
            for found in same:
                masks = self.segment(
                    maps, found.boxes[None], found.labels[None]
                )
                pasted.append(B.paste(masks[0], found.boxes, image.shape[2:]))
        low = torch.minimum(*pasted) - tolerance
        high = torch.maximum(*pasted) + tolerance
        return (low <= self.mask_threshold) & (self.mask_threshold <= high)

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

    All RoIs are pooled on each level; those of other levels have no area
    there, so they cost almost nothing.
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


def _check_parts(model: Any) -> None:
    """Raise an error if a part proposes or refines in its own way."""
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.detectors import TwoStageDetector
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    B.check_methods(model, TwoStageDetector, 'predict', 'extract_feat')
    if not model.with_rpn or not model.with_roi_head:
        raise B.unsupported(model, 'a missing rpn_head or roi_head')
    rpn_head, roi_head = model.rpn_head, model.roi_head
    predicts = ('predict', 'predict_by_feat', '_predict_by_feat_single')
    B.check_methods(rpn_head, RPNHead, *predicts, '_bbox_post_process')
    B.check_coder(rpn_head)
    B.check_nms(rpn_head.test_cfg, rpn_head, 'nms_pre', 'max_per_img')
    cascade = isinstance(roi_head.bbox_head, nn.ModuleList)
    base = CascadeRoIHead if cascade else StandardRoIHead
    predicts = ('predict', 'predict_bbox', 'predict_mask')
    B.check_methods(
        roi_head, base, *predicts, '_bbox_forward', '_mask_forward'
    )
    if roi_head.with_shared_head:
        raise B.unsupported(roi_head, 'its shared_head')
    B.check_nms(roi_head.test_cfg, roi_head, 'max_per_img')


def _doubtful(levels: List[List[Tensor]], cfg: Any) -> Tensor:
    """Boxes (n, 4) of an image that the RPN may or may not propose.

    Args:
        levels (list[list[Tensor]]): Boxes, sorted scores and number of each
            level, one more than its ``nms_pre``.
        cfg: ``test_cfg`` of the RPN.
    """
    count = cfg['nms_pre']
    found = [b[near_cut(scores, count)] for b, scores, _ in levels]
    boxes, scores, ids = (
        torch.cat([part[:count] for part in parts])
        for parts in zip(*levels, strict=True)
    )
    boxes, scores, ids = (part[scores >= 0] for part in (boxes, scores, ids))
    limit, most = cfg['nms']['iou_threshold'], cfg['max_per_img']
    kept = kept_by_nms(boxes, scores, ids, limit)
    kept = kept[scores[kept].argsort(descending=True)]
    found.append(boxes[kept][near_cut(scores[kept], most)])
    kept = kept[:most]
    found.append(boxes[near_suppression(boxes, scores, ids, kept, limit)])
    return torch.cat(found)
