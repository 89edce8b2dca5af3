"""Test-time augmentation of instance segmentors."""

from typing import Any, Dict, List, Sequence, Tuple

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmrep.registry import MODELS


def unwrapped(model: nn.Module) -> nn.Module:
    """A model without its wrappers for processes or augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Merge the boxes and the masks of the views of an image.

    The boxes of all views pass through one more NMS, as in MMDetection 3.x's
    ``DetTTAModel``, which refuses models with masks. For each remaining box,
    every view predicts a mask, and the result is their mean, as in MMDetection
    2.x. MMDetection 2.x merged the proposals of the views instead and took the
    mean of their boxes and scores, so scores differ a little.

    Args:
        tta_cfg (dict): ``nms``, MMCV's config of the NMS that merges boxes,
            and ``max_per_img``, the number of boxes to keep.
        module (dict | nn.Module): A two-stage detector with a mask head.
        data_preprocessor (dict, optional): See MMEngine. Defaults to None.
    """

    def __init__(
        self, tta_cfg: Dict[str, Any], module, data_preprocessor=None
    ) -> None:
        super().__init__(module, data_preprocessor)
        roi_head = getattr(self.module, 'roi_head', None)
        if not getattr(roi_head, 'with_mask', False):
            raise ValueError(
                'InstanceTTAModel needs a two-stage detector with a mask '
                f'head, got {type(self.module).__name__}; use DetTTAModel '
                'for boxes.'
            )
        self.tta_cfg = tta_cfg

    @torch.no_grad()
    def test_step(self, data: Dict[str, list]) -> list:
        """Predict a batch of images.

        Args:
            data (dict): ``inputs`` and ``data_samples``, lists over the views
                of lists over the images.

        Returns:
            list: The data sample of each image, with the merged
                ``pred_instances`` at the size of the original image.
        """
        views = [
            self._predict_boxes(dict(zip(data, view, strict=True)))
            for view in zip(*data.values(), strict=True)
        ]
        merged = []
        for i in range(len(views[0][1])):
            image_views = [
                (tuple(f[i : i + 1] for f in features), samples[i])
                for features, samples in views
            ]
            merged.append(self._merge(image_views))
        return merged

    def merge_preds(self, data_samples_list: List[list]) -> list:
        """Do not call this: masks need features, not only predictions."""
        raise NotImplementedError('InstanceTTAModel merges in test_step.')

    def _predict_boxes(
        self, data: Dict[str, list]
    ) -> Tuple[Tuple[Tensor, ...], list]:
        """Features of a view's images, and its samples with boxes."""
        detector = self.module
        data = detector.data_preprocessor(data, False)
        samples = data['data_samples']
        features = detector.extract_feat(data['inputs'])
        proposals = detector.rpn_head.predict(features, samples, rescale=False)
        roi_head = detector.roi_head
        results = roi_head.predict_bbox(
            features,
            [sample.metainfo for sample in samples],
            proposals,
            roi_head.test_cfg,
            rescale=True,
        )
        for sample, result in zip(samples, results, strict=True):
            sample.pred_instances = result
        return features, samples

    def _merge(self, views: Sequence[Tuple[Tuple[Tensor, ...], Any]]):
        from mmcv.ops import batched_nms

        boxes = torch.cat(
            [_flip(s.pred_instances.bboxes, s.ori_shape, s) for _, s in views]
        )
        scores = torch.cat([s.pred_instances.scores for _, s in views])
        labels = torch.cat([s.pred_instances.labels for _, s in views])
        results = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        if len(results) > 0:
            kept, indices = batched_nms(
                boxes, scores, labels, self.tta_cfg['nms']
            )
            results = results[indices][: self.tta_cfg['max_per_img']]
            # soft NMS changes scores
            results.scores = kept[: len(results), 4]
        sample = views[0][1]
        sample.pred_instances = self._predict_masks(results, views)
        return sample

    def _predict_masks(
        self,
        results: InstanceData,
        views: Sequence[Tuple[Tuple[Tensor, ...], Any]],
    ) -> InstanceData:
        """Add to the merged boxes the mean mask of all views."""
        roi_head = self.module.roi_head
        heads = roi_head.mask_head
        stages = len(heads) if hasattr(heads, '__len__') else 0
        sample = views[0][1]
        meta = dict(ori_shape=sample.ori_shape, scale_factor=(1.0, 1.0))
        if len(results) == 0:
            results.masks = results.bboxes.new_zeros(
                (0, *sample.ori_shape[:2]), dtype=torch.bool
            )
            return results
        probabilities = []
        for features, view in views:
            factors = results.bboxes.new_tensor(view.scale_factor).repeat(2)
            boxes = _flip(results.bboxes * factors, view.img_shape, view)
            rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], 1)
            outputs = (
                [
                    roi_head._mask_forward(i, features, rois)
                    for i in range(stages)
                ]
                if stages
                else [roi_head._mask_forward(features, rois)]
            )
            for output in outputs:
                masks = output['mask_preds'].sigmoid()
                probabilities.append(_flip_maps(masks, view))
        mean = torch.stack(probabilities).mean(0)
        head = heads[-1] if stages else heads
        return head.predict_by_feat(
            [mean],
            [results],
            [meta],
            roi_head.test_cfg,
            rescale=True,
            activate_map=True,
        )[0]


def _flip(boxes: Tensor, shape: Sequence[int], view) -> Tensor:
    """Boxes (N, 4) in an image of ``shape`` (H, W), flipped like ``view``."""
    if not view.get('flip'):
        return boxes
    x1, y1, x2, y2 = boxes.unbind(1)
    if view.flip_direction in ('horizontal', 'diagonal'):
        x1, x2 = shape[1] - x2, shape[1] - x1
    if view.flip_direction in ('vertical', 'diagonal'):
        y1, y2 = shape[0] - y2, shape[0] - y1
    return torch.stack([x1, y1, x2, y2], 1)


def _flip_maps(maps: Tensor, view) -> Tensor:
    """Maps (N, C, H, W), flipped like ``view``."""
    if not view.get('flip'):
        return maps
    dims = dict(horizontal=[3], vertical=[2], diagonal=[2, 3])
    return maps.flip(dims[view.flip_direction])
