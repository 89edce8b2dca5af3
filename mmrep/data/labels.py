"""Check for labels outside the model's classes."""

from typing import Any, List, Optional, Sequence

import torch
from torch import Tensor, nn

from mmrep.data.heads import heads, num_labels
from mmrep.data.images import check_bytes
from mmrep.errors import UsageError

# Suffixes of lossy files.
JPEG = ('.jpg', '.jpeg')


class LabelError(UsageError):
    """An annotation has a label outside the classes."""


class LabelCheck:
    """Check the labels of a sample before it gets to a loss.

    In a loss, an unknown label is an index error without a file name or, on a
    GPU, an assertion that kills the process.

    Args:
        num_classes (int): Labels are 0 to ``num_classes - 1``.
        ignore_index (int, optional): Label of pixels without a class.
            Defaults to None.
    """

    def __init__(
        self, num_classes: int, ignore_index: Optional[int] = None
    ) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    @classmethod
    def of(cls, model: nn.Module) -> Optional['LabelCheck']:
        """The check for a segmentor or detector, or None for other models."""
        of_segmentor = [h for _, h in heads(model)]
        if of_segmentor:
            head = of_segmentor[0]
            return cls(num_labels(head), getattr(head, 'ignore_index', None))
        head = getattr(model, 'roi_head', model)
        head = getattr(head, 'bbox_head', None)
        if isinstance(head, nn.ModuleList):  # cascades
            head = head[-1]
        num_classes = getattr(head, 'num_classes', None)
        if not isinstance(num_classes, int):
            return None
        return cls(num_classes, getattr(head, 'ignore_index', None))

    def __call__(self, sample: Any) -> None:
        """Raise an error if a sample of a pipeline has labels without a class.

        Raises:
            LabelError: With the file and the labels.
        """
        data = sample.get('data_samples') if isinstance(sample, dict) else None
        if 'gt_sem_seg' in (data or ()):
            labels, info = data.gt_sem_seg.data, data.metainfo
        elif 'gt_instances' in (data or ()):
            info = dict(img_path=data.metainfo.get('img_path'))
            labels = data.gt_instances.get('labels')
            if labels is None:
                raise LabelError(
                    'the training pipeline must load boxes, with '
                    "dict(type='LoadAnnotations', with_bbox=True), and "
                    f'{info["img_path"]} comes without them.'
                )
        else:
            return
        unknown = self._unknown(labels)
        if unknown:
            self.check_labels(unknown, info)

    def check_labels(self, labels: Sequence[int], info: dict) -> None:
        """Raise an error if some labels of a file have no class.

        Args:
            labels (Sequence[int]): The labels that occur.
            info (dict): ``img_path`` of the sample; for a segmentation data
                set also ``seg_map_path`` and ``reduce_zero_label``.

        Raises:
            LabelError: With the file and the labels.
        """
        unknown = [
            v
            for v in labels
            if not 0 <= v < self.num_classes and v != self.ignore_index
        ]
        if not unknown:
            return
        source = info.get('seg_map_path')
        check_bytes(source)  # a wrong label may come from a larger one
        image = info.get('img_path') or 'an image without a name'
        text = ', '.join(map(str, unknown[:5]))
        if info.get('reduce_zero_label'):
            text += (
                f' ({", ".join(str(v + 1) for v in unknown[:5])} in the file; '
                'reduce_zero_label subtracts 1)'
            )
        allowed = f'0 to {self.num_classes - 1}'
        if self.ignore_index is not None:
            allowed += f' or {self.ignore_index} for pixels to ignore'
        where = f'{source} (of {image})' if source else f'of {image}'
        todo = 'fix the file, or num_classes'
        if str(source).lower().endswith(JPEG):
            todo = 'JPEG changes labels, so write label maps as PNG'
        raise LabelError(
            f'labels must be {allowed}, and the annotation {where} has '
            f'{text}; {todo}.'
        )

    def _unknown(self, labels: Tensor) -> List[int]:
        bad = (labels < 0) | (labels >= self.num_classes)
        if self.ignore_index is not None:
            bad &= labels != self.ignore_index
        return torch.unique(labels[bad]).tolist() if bad.any() else []
