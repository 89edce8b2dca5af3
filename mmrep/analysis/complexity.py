"""Parameters and FLOPs of a model, per part, without its weights.

FLOPs are multiply-adds, as in papers of this field: each product that is
summed in a convolution or matrix product counts once. Convolutions and matrix
products count; norms, activations, pooling, interpolation and RoIAlign do not.

On PyTorch's meta device tensors have shapes and no values, so the largest
model takes seconds and no memory.
"""

import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmrep import ops  # noqa: F401, registers the operator
from mmrep.data.heads import input_channels
from mmrep.errors import UsageError, one_line


class ValuesNeeded(UsageError):
    """The model reads values, which tensors on the meta device lack."""


@dataclass(frozen=True)
class Complexity:
    """Counts of :func:`count`.

    Args:
        parts (dict): ``{'params': int, 'flops': int}`` for each part of the
            model that inference runs; FLOPs are multiply-adds.
        params (int): Sum of the parameters of these parts.
        flops (int): Multiply-adds of one image.
        idle (dict): Parameters of the parts that inference does not run,
            such as an auxiliary head; they are not in ``params``.
    """

    parts: Dict[str, Dict[str, int]]
    params: int
    flops: int
    idle: Dict[str, int]

    def to_dict(self) -> dict:
        """``params``, ``flops`` and ``parts``, in plain units."""
        return dict(params=self.params, flops=self.flops, parts=self.parts)


def count(
    model: nn.Module,
    shape: Tuple[int, int],
    num_proposals: int = 1000,
    num_masks: int = 100,
) -> Complexity:
    """Count parameters, and multiply-adds for one image.

    Args:
        model (nn.Module): A segmentor, detector, classifier or backbone in
            evaluation form, on any device; it is best on the meta device
            (:func:`mmrep.deploy.build_model`).
        shape (tuple[int, int]): Height and width of the image.
        num_proposals (int): Boxes that each box head of a two-stage detector
            gets. Defaults to 1000, as in MMDetection 2.x.
        num_masks (int): Boxes that each mask head gets. Defaults to 100,
            likewise.

    Returns:
        Complexity: The counts.

    Raises:
        ValuesNeeded: If the model is on the meta device but must be built on
            another.
        UsageError: If the model does not accept such an image, needs more than
            one, or has an unknown RoI head.
    """
    if model.training:
        raise ValueError(
            'count needs a model in evaluation mode, got one in training '
            'mode; call model.eval() first.'
        )
    parts = {name: m for name, m in model.named_children() if _weighs(m)}
    if not isinstance(model, BaseModel):
        parts = {'backbone': model}
    flops: Dict[str, int] = {}
    with ExitStack() as stack:
        if _has(model, 'roi_head'):
            stack.enter_context(
                _replaced_forward(
                    model.roi_head,
                    _roi_forward(model.roi_head, num_proposals, num_masks),
                )
            )
        stack.enter_context(torch.no_grad())
        # such as warnings about resizing, which do not matter here
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter('ignore')
        # the counter reads the graph of tensors that require a gradient
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                stack.callback(parameter.requires_grad_)
        counter = stack.enter_context(_counter())
        for name, part in parts.items():
            for module in part if isinstance(part, nn.ModuleList) else [part]:
                stack.enter_context(_measured(name, module, counter, flops))
        device = next(model.parameters(), torch.empty(0)).device
        try:
            channels = input_channels(model)
            _run(model, torch.empty(1, channels, *shape, device=device))
        except (
            AssertionError,
            AttributeError,
            ImportError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            text = one_line(error, kind=True)
            kind = UsageError
            if device.type == 'meta' and 'meta' in text.lower():
                kind = ValuesNeeded
            raise kind(
                f'{type(model).__name__} cannot take an image of {shape[0]} x '
                f'{shape[1]} (height x width) alone: {text}'
            ) from error
    total = counter.get_total_flops() // 2
    idle = {n: _params([m]) for n, m in parts.items() if n not in flops}
    params = _params([model]) - sum(idle.values())
    counts = {
        name: dict(params=_params([parts[name]]), flops=flops[name])
        for name in parts
        if name in flops
    }
    rest = dict(
        params=params - sum(c['params'] for c in counts.values()),
        flops=total - sum(c['flops'] for c in counts.values()),
    )
    if any(rest.values()):
        counts['other'] = rest
    return Complexity(counts, params, total, idle)


def _weighs(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _params(modules: List[nn.Module]) -> int:
    seen = {id(p): p for m in modules for p in m.parameters()}
    return sum(p.numel() for p in seen.values())


def _has(model: nn.Module, name: str) -> bool:
    return getattr(model, name, None) is not None


def _counter() -> FlopCounterMode:
    """PyTorch's counter, which also knows our operator."""
    return FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.mmrep.depthwise_conv2d: _depthwise_flops},
    )


def _depthwise_flops(x_shape, weight_shape, *args, out_shape, **kwargs) -> int:
    """FLOPs in PyTorch's counting, two for each multiply-add."""
    channels, _, kernel_h, kernel_w = weight_shape
    batch, _, height, width = x_shape
    return 2 * batch * channels * height * width * kernel_h * kernel_w


def _run(model: nn.Module, image: Tensor) -> None:
    """Run the same as inference, up to the heads' maps."""
    if not isinstance(model, BaseModel):
        model(image)
    elif _has(model, 'roi_head'):
        features = model.extract_feat(image)
        if _has(model, 'rpn_head'):
            model.rpn_head(features)
        model.roi_head(features)
    elif hasattr(model, 'encode_decode'):
        # in mode='tensor' a Mask2FormerHead lacks an argument
        model.encode_decode(image, [_meta(image)])
    else:
        # MMDetection's transformers need to know which part is padding
        sample = BaseDataElement(metainfo=_meta(image))
        model(image, [sample], mode='tensor')


def _meta(image: Tensor) -> Dict[str, Tuple[int, int]]:
    """Metadata that heads may read, for an image without padding."""
    shape = tuple(image.shape[2:])
    return dict(img_shape=shape, pad_shape=shape, batch_input_shape=shape)


@contextmanager
def _replaced_forward(module: nn.Module, forward: Callable) -> Iterator[None]:
    """Set ``module.forward``, also for calls that bypass ``__call__``."""
    before: Optional[Callable] = module.__dict__.get('forward')
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


@contextmanager
def _measured(
    name: str,
    module: nn.Module,
    counter: FlopCounterMode,
    flops: Dict[str, int],
) -> Iterator[None]:
    """Count the FLOPs of ``module.forward`` in ``flops[name]``."""
    forward = module.forward

    def measured(*args, **kwargs):
        before = counter.get_total_flops()
        out = forward(*args, **kwargs)
        spent = (counter.get_total_flops() - before) // 2
        flops[name] = flops.get(name, 0) + spent
        return out

    with _replaced_forward(module, measured):
        yield


def _roi_forward(
    roi_head: nn.Module, num_proposals: int, num_masks: int
) -> Callable:
    """Run a RoI head on the number of boxes to count.

    The actual number depends on the image, and pooling costs no multiply-adds,
    so the heads get empty maps instead.
    """
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    if type(roi_head) not in (CascadeRoIHead, StandardRoIHead):
        raise UsageError(
            'a two-stage detector can be counted only if it has a '
            'StandardRoIHead or a CascadeRoIHead, got '
            f'{type(roi_head).__name__}.'
        )

    def stages(name: str) -> list:
        module = getattr(roi_head, name, None)
        if isinstance(module, nn.ModuleList):
            return list(module)
        return [] if module is None else [module]

    def forward(features: Tuple[Tensor, ...]) -> None:
        for kind, boxes in (('bbox', num_proposals), ('mask', num_masks)):
            extractors = stages(f'{kind}_roi_extractor')
            # which a RoI head without masks does not have
            heads = stages(f'{kind}_head')
            for extractor, head in zip(extractors, heads, strict=True):
                size = extractor.roi_layers[0].output_size
                pooled = features[0].new_empty(
                    boxes, extractor.out_channels, *size
                )
                if roi_head.with_shared_head:
                    pooled = roi_head.shared_head(pooled)
                head(pooled)

    return forward
