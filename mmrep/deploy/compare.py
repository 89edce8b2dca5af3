"""Compare two forms of a model by everything that they compute."""

from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn


class Difference(NamedTuple):
    """How far an output is from the expected one.

    Attributes:
        name: Name of the output.
        max_abs: Largest absolute difference.
        relative: The same, divided by the largest absolute expected value.
    """

    name: str
    max_abs: float
    relative: float


def outputs(model: nn.Module, image: Tensor) -> Dict[str, Tensor]:
    """Everything that a model computes from an image before its decisions.

    The RoI head of a two-stage detector gets fixed boxes, because those that
    an RPN proposes jump at the smallest difference. Heads that take more than
    feature maps, such as those of a DETR, are skipped.

    Args:
        model (nn.Module): A segmentor, a detector or a backbone, in
            evaluation mode.
        image (Tensor): Shape (N, C, H, W), normalised.

    Returns:
        dict[str, Tensor]: Feature maps, and maps or vectors of each head.
    """
    with torch.no_grad():
        found = dict(_parts(model, image))
    return {
        f'{name}.{key}' if key else name: value.detach().clone()
        for name, part in found.items()
        for key, value in _tensors(part)
    }


def _parts(model: nn.Module, image: Tensor) -> Iterator[Tuple[str, Any]]:
    if not hasattr(model, 'extract_feat'):
        yield 'features', model(image)
        return
    features = model.extract_feat(image)
    yield 'features', features
    for name in ('decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head'):
        head = getattr(model, name, None)
        if isinstance(head, nn.ModuleList):
            before: tuple = ()
            for i, part in enumerate(head):
                out = _run(part, features, *before)
                yield f'{name}.{i}', out
                if name == 'decode_head':  # a cascade
                    before = (out,)
        elif head is not None:
            yield name, _run(head, features)
    if getattr(model, 'roi_head', None) is not None:
        boxes = [InstanceData(bboxes=_boxes(image)) for _ in image]
        yield 'roi_head', model.roi_head(features, boxes, _samples(image))


def _run(head: nn.Module, *inputs: Any) -> Any:
    """The output of a head for maps; nothing if it takes other inputs."""
    try:
        return head(*inputs)
    except (NotImplementedError, TypeError):
        return ()


def _boxes(image: Tensor) -> Tensor:
    """Boxes of several sizes and positions, shape (16, 4)."""
    generator = torch.Generator().manual_seed(0)
    height, width = image.shape[2:]
    corners = torch.rand(16, 2, 2, generator=generator).sort(1).values
    boxes = corners * torch.tensor([width, height])
    return boxes.flatten(1).to(image)


def _samples(image: Tensor) -> list:
    from mmdet.structures import DetDataSample  # only detectors need it

    shape = tuple(image.shape[2:])
    meta: dict = dict(img_shape=shape, ori_shape=shape, flip=False)
    meta['scale_factor'] = (1.0, 1.0)
    return [DetDataSample(metainfo=meta) for _ in image]


def _tensors(value: Any) -> Iterator[Tuple[str, Tensor]]:
    """The tensors of a nested list, with their places in it."""
    if isinstance(value, Tensor):
        yield '', value
    elif isinstance(value, np.ndarray):
        yield '', torch.from_numpy(value)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            for key, tensor in _tensors(part):
                yield f'{i}.{key}' if key else str(i), tensor


def compare(
    expected: Dict[str, Tensor], found: Dict[str, Tensor]
) -> List[Difference]:
    """Differences of two results of :func:`outputs`, the largest first.

    Raises:
        ValueError: If they do not hold the same outputs.
    """
    if expected.keys() != found.keys():
        raise ValueError(
            f'the outputs must be {sorted(expected)}, got {sorted(found)}.'
        )
    result = []
    for name, reference in expected.items():
        reference, value = reference.double(), found[name].double()
        if reference.shape != value.shape:
            raise ValueError(
                f'{name} must have shape {tuple(reference.shape)}, '
                f'got {tuple(value.shape)}.'
            )
        if reference.numel() == 0:
            continue
        max_abs = (value - reference).abs().max().item()
        scale = reference.abs().max().item()
        if not np.isfinite(max_abs):
            max_abs = float('inf')
        relative = max_abs / scale if scale > 0 else max_abs
        if max_abs == 0:
            relative = 0.0
        result.append(Difference(name, max_abs, relative))
    return sorted(result, key=lambda d: d.relative, reverse=True)
