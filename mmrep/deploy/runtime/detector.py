"""An exported detector that replaces MMDetection's."""

import copy
from typing import Any, List, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.detectors.base import BaseDetector
from mmengine.structures import InstanceData
from torch import Tensor

from mmrep.deploy.runtime.files import ExportedFile
from mmrep.deploy.whole.boxes import paste


class ExportedDetector(BaseDetector):
    """Predicts like the model that was exported.

    Args:
        file (ExportedFile): The file.
        model (dict): Config of the model, for its ``data_preprocessor``.
    """

    def __init__(self, file: ExportedFile, model: dict) -> None:
        preparation = copy.deepcopy(model.get('data_preprocessor') or {})
        if file.about['input'] != 'normalised':  # the file normalises
            preparation.update(mean=None, std=None, bgr_to_rgb=False)
            preparation.pop('rgb_to_bgr', None)
        preparation['pad_size_divisor'] = 1  # and pads
        super().__init__(data_preprocessor=preparation)
        self.file = file

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list, rescale=True
    ) -> list:
        """Pictures (N, C, H, W) to data samples with ``pred_instances``."""
        results = []
        for image, sample in zip(
            batch_inputs, batch_data_samples, strict=True
        ):
            height, width = sample.img_shape[:2]
            outputs = self.file.run(
                image[None, :, :height, :width], {'dets', 'labels'}
            )
            result = self._instances(outputs, sample, rescale)
            results.append(result.to(batch_inputs.device))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _instances(self, outputs: dict, sample: Any, rescale: bool):
        there = outputs['labels'][0] >= 0
        dets = outputs['dets'][0][there]
        boxes, size = dets[:, :4], sample.img_shape[:2]
        if rescale:
            boxes = boxes / boxes.new_tensor(sample.scale_factor).repeat(2)
            size = sample.ori_shape[:2]
        result = InstanceData(
            bboxes=boxes, scores=dets[:, 4], labels=outputs['labels'][0][there]
        )
        if 'masks' in outputs:
            masks = outputs['masks'][0][there]
            result.masks = self._masks(masks, boxes, size)
        return result

    def _masks(
        self, masks: Tensor, boxes: Tensor, size: Sequence[int]
    ) -> Tensor:
        """Masks (n, H, W) of a size, from pasted or raw ones."""
        height, width = size
        found = masks.new_zeros((len(masks), height, width), dtype=torch.bool)
        for i in range(len(masks)):  # one at a time, to save memory
            if masks.dtype == torch.bool:
                if masks.shape[1:] == (height, width):
                    found[i] = masks[i]
                    continue
                mask = F.interpolate(
                    masks[None, i : i + 1].float(), (height, width),
                    mode='bilinear',
                )[0, 0]  # fmt: skip
                found[i] = mask >= 0.5
            else:
                (mask,) = paste(masks[i : i + 1], boxes[i : i + 1], size)
                found[i] = mask >= self.file.decisions['mask_threshold']
        return found

    def extract_feat(self, batch_inputs: Tensor) -> Any:
        """Not in the file."""
        raise NotImplementedError('an exported detector has no features.')

    def loss(self, batch_inputs: Tensor, batch_data_samples: list) -> Any:
        """Not in the file."""
        raise NotImplementedError('an exported detector cannot be trained.')

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: Any = None
    ) -> List[Tensor]:
        raise NotImplementedError('an exported detector has no raw outputs.')
