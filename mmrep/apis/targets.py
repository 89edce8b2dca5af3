"""Check what a training loop of one's own passes to a model.

Wrong targets are errors far from their cause, assertions that end the process
on a GPU, or no errors at all.
"""

from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor

from mmrep.errors import UsageError


def check_tensor(value: Any, name: str) -> None:
    """Raise a UsageError if a value is no tensor."""
    if not isinstance(value, Tensor):
        raise UsageError(
            f'{name} must be a torch.Tensor, got a {type(value).__name__}.'
        )


def check_integers(labels: Tensor, name: str) -> None:
    """Raise a UsageError if a tensor holds other numbers than integers."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise UsageError(f'{name} must be integers, got {labels.dtype}.')


def read_target(
    target: Any,
    size: Tuple[int, int],
    num_classes: Optional[int],
    with_masks: bool,
) -> Dict[str, Tensor]:
    """Check the objects of an image; a GPU waits for it once.

    Args:
        target (dict): ``boxes`` (n, 4), ``labels`` (n,) and perhaps ``masks``
            (n, H, W).
        size (tuple): Height and width of the image.
        num_classes (int, optional): Labels are 0 to ``num_classes - 1``. None
            if it is not known.
        with_masks (bool): Whether masks are needed.

    Returns:
        dict[str, Tensor]: The same as float32, int64 and uint8; without an
        object they have the shapes for none.

    Raises:
        UsageError: If something is missing, or has a wrong type, shape or
            value.
    """
    needed = ['boxes', 'labels', *['masks'] * with_masks]
    if not isinstance(target, dict) or not target.keys() >= {*needed}:
        got = ', '.join(map(str, target)) if isinstance(target, dict) else (
            f'a {type(target).__name__}'
        )  # fmt: skip
        raise UsageError(
            f'a target must have {", ".join(needed)}, got {got or "none"}.'
        )
    for name in needed:
        check_tensor(target[name], f'{name} of a target')
    count = target['labels'].numel()
    shapes = dict(boxes=(count, 4), labels=(count,), masks=(count, *size))
    kinds = dict(boxes=torch.float, labels=torch.long, masks=torch.uint8)
    for name in needed:
        shape = tuple(target[name].shape)
        empty = not count and not target[name].numel()
        if shape != shapes[name] and not empty:
            raise UsageError(
                f'{name} of a target must have the shape {shapes[name]}, as '
                f'there are {count} labels, got {shape}.'
            )
    if count:
        check_integers(target['labels'], 'labels of a target')
        _check_values(target['boxes'], target['labels'], size, num_classes)
    return {n: target[n].reshape(shapes[n]).to(kinds[n]) for n in needed}


def _check_values(
    boxes: Tensor,
    labels: Tensor,
    size: Tuple[int, int],
    num_classes: Optional[int],
) -> None:
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(1)
    labels = labels.to(boxes.device)
    known = num_classes or torch.iinfo(torch.int64).max
    faults = {
        'boxes of a target must be finite': ~boxes.isfinite().all(1),
        'boxes of a target must be corners x1, y1, x2, y2, with x2 above x1 '
        'and y2 above y1 (add x and y to a width and a height)': (x2 <= x1)
        | (y2 <= y1),
        f'boxes of a target must be in its image of {width}x{height} pixels': (
            x2 <= 0
        )
        | (y2 <= 0)
        | (x1 >= width)
        | (y1 >= height),
        f'labels must be 0 to {known - 1}': (labels < 0) | (labels >= known),
    }
    if not torch.stack([*faults.values()]).any():
        return
    for must, wrong in faults.items():
        if wrong.any():
            i = int(wrong.nonzero()[0, 0])
            got = labels if must.startswith('labels') else boxes
            raise UsageError(f'{must}, got {got[i].tolist()} at {i}.')
