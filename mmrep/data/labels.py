"""Labels that the model has no class for."""

from typing import Any, List, Optional

import torch
from torch import Tensor, nn

from mmrep.errors import UsageError


class LabelError(UsageError):
    """An annotation has a label outside the classes."""


class LabelCheck:
    """Check the labels of a sample before it gets to a loss.

    There an unknown label is an index error without a file's name, or on a
    GPU an assertion that takes the process with it.

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
        """The check for a segmentor or detector, None for other models."""
        head = getattr(model, 'decode_head', None)
        if head is None:
            head = getattr(model, 'roi_head', model)
            head = getattr(head, 'bbox_head', None)
        if isinstance(head, nn.ModuleList):  # cascades
            head = head[-1]
        num_classes = getattr(head, 'num_classes', None)
        if not isinstance(num_classes, int):
            return None
        return cls(num_classes, getattr(head, 'ignore_index', None))

    def __call__(self, sample: Any) -> None:
        """Raise if a sample of a pipeline has labels without a class.

        Raises:
            LabelError: With the file and the labels.
        """
        data = sample.get('data_samples') if isinstance(sample, dict) else None
        if 'gt_sem_seg' in (data or ()):
            unknown = self._unknown(data.gt_sem_seg.data)
            source = data.metainfo.get('seg_map_path')
        elif 'gt_instances' in (data or ()):
            unknown = self._unknown(data.gt_instances.labels)
            source = None
        else:
            return
        if not unknown:
            return
        image = data.metainfo.get('img_path', 'an image without a name')
        text = ', '.join(map(str, unknown[:5]))
        if data.metainfo.get('reduce_zero_label'):
            text += (
                f' ({", ".join(str(v + 1) for v in unknown[:5])} in the file, '
                'reduce_zero_label takes 1 off)'
            )
        allowed = f'0 to {self.num_classes - 1}'
        if self.ignore_index is not None:
            allowed += f' or {self.ignore_index} for pixels to ignore'
        where = f'{source} (of {image})' if source else f'of {image}'
        raise LabelError(
            f'labels must be {allowed}, and the annotation {where} has '
            f'{text}; mend the file, or num_classes.'
        )

    def _unknown(self, labels: Tensor) -> List[int]:
        bad = (labels < 0) | (labels >= self.num_classes)
        if self.ignore_index is not None:
            bad &= labels != self.ignore_index
        return torch.unique(labels[bad]).tolist() if bad.any() else []
