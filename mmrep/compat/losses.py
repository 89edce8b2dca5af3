"""Fixes for MMSegmentation's losses, which crash in the pinned fork.

``tests/compat/test_losses.py`` fails once upstream is fixed; then this file
can be removed.
"""

from functools import partial
from types import MethodType
from typing import Any, Callable, Optional

import torch.nn.functional as F
from torch import Tensor, nn


def repair_losses(model: nn.Module) -> None:
    """Make the losses of a segmentor compute what they document.

    - CrossEntropyLoss with ``class_weight`` and ``avg_non_ignore``, which
      raises an error. The mean is over the pixels that are not ignored.
    - CrossEntropyLoss with ``use_sigmoid``, which takes ``class_weight`` for
      the columns of a picture, and raises for one output where a batch has
      no labelled pixel.
    - FocalLoss on the CPU, which raises.

    Args:
        model (nn.Module): Changed in place.
    """
    for loss in model.modules():
        kind = type(loss)
        if not kind.__module__.startswith('mmseg.models.losses'):
            continue
        if kind.__name__ == 'CrossEntropyLoss':
            if loss.use_sigmoid:
                criterion = loss.cls_criterion
                if not isinstance(criterion, partial):
                    criterion = partial(_binary_cross_entropy, criterion)
                loss.cls_criterion = criterion
            elif loss.class_weight is not None:
                loss.avg_non_ignore = False
        elif kind.__name__ == 'FocalLoss':
            loss.forward = MethodType(_focal_loss, loss)


def _binary_cross_entropy(
    criterion: Callable,
    pred: Tensor,
    label: Tensor,
    *args: Any,
    class_weight: Optional[Tensor] = None,
    ignore_index: int = -100,
    **kwargs: Any,
) -> Tensor:
    if pred.size(1) == 1 and not (label != ignore_index).any():
        return pred.sum() * 0
    if class_weight is not None and pred.dim() == 4:
        class_weight = class_weight.view(-1, 1, 1)
    return criterion(
        pred,
        label,
        *args,
        class_weight=class_weight,
        ignore_index=ignore_index,
        **kwargs,
    )


def _focal_loss(
    self: nn.Module,
    pred: Tensor,
    target: Tensor,
    weight: Optional[Tensor] = None,
    avg_factor: Optional[float] = None,
    reduction_override: Optional[str] = None,
    ignore_index: int = 255,
    **kwargs: Any,
) -> Tensor:
    if not pred.is_cuda and pred.shape != target.shape:
        valid = target != ignore_index
        classes = pred.size(1)
        # one more, as upstream on a GPU; a single output is for label 1
        target = F.one_hot(
            target.where(valid, target.new_zeros(())), classes + 1
        )
        target = target[..., 1:] if classes == 1 else target[..., :-1]
        target = (target * valid[..., None]).movedim(-1, 1)
        valid = valid.flatten().to(pred)
        weight = valid if weight is None else valid * weight.flatten()
    return type(self).forward(
        self,
        pred,
        target,
        weight,
        avg_factor,
        reduction_override,
        ignore_index,
        **kwargs,
    )
