"""A model, or its first part, as a module that exporters accept."""

import sys
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrep.data.heads import input_channels
from mmrep.deploy.compare import Difference, compare
from mmrep.deploy.inputs import random_input
from mmrep.deploy.merge import check_tolerance
from mmrep.deploy.uperhead import restore_uper_heads
from mmrep.errors import UsageError
from mmrep.models.layers import MatrixPool2d
from mmrep.ops import DepthwiseConv2d
from mmrep.ops.module import is_eligible

PARTS = ('backbone', 'neck', 'head', 'segmentor')


class OperatorNode(DepthwiseConv2d):
    """The operator as a single graph node, ``mmrep::depthwise_conv2d``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return torch.ops.mmrep.depthwise_conv2d(
            x, self.weight, self.bias, False, self.backend, self.autotune
        )[0]


class Exportable(nn.Module):
    """Part of a model: normalised images to maps.

    Args:
        model (nn.Module): A segmentor, a detector or a backbone in evaluation
            mode; it is changed in place.
        part (str): 'backbone'; 'neck' for the backbone and the neck; 'head'
            for a one-stage detector's maps before decoding; 'segmentor' for
            logits at the size of the image.
        keep_pooling (bool): Keep adaptive pooling, which ONNX does not have,
            and UPerHead's deploy form. Defaults to False.
    """

    def __init__(
        self, model: nn.Module, part: str, keep_pooling: bool = False
    ) -> None:
        super().__init__()
        self.part = part
        self.backbone = getattr(model, 'backbone', model)
        self.channels = input_channels(self.backbone)
        self.neck: Optional[nn.Module] = None
        self.head: Any = None
        if part != 'backbone' and getattr(model, 'with_neck', False):
            self.neck = model.neck
        if part == 'segmentor':
            self.head = model.decode_head
        elif part == 'head':
            self.head = model.bbox_head
        if not keep_pooling:
            prepare_layers(self)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Any:
        """Images (N, C, H, W) to logits or a tuple of maps."""
        out = self.backbone(image)
        if self.neck is not None:
            out = self.neck(out)
        if self.head is not None:
            out = self.head(out)
        if self.part == 'segmentor':
            return F.interpolate(
                out,
                size=image.shape[2:],
                mode='bilinear',
                align_corners=self.head.align_corners,
            )
        return tuple(_flat(out))

    def example(
        self, size: Tuple[int, int], batch: int = 1, seed: int = 0
    ) -> Tensor:
        """An input of this size, of noise."""
        return random_input(size, batch, seed, self.channels)

    def expected(self, image: Tensor) -> Dict[str, Tensor]:
        """The outputs that a file must have for an input."""
        return named(self.output_names(image), self(image))

    def compare(
        self,
        name: str,
        expected: Dict[str, Tensor],
        found: Dict[str, Tensor],
        tolerance: float,
    ) -> List[Difference]:
        """The differences of an input; raise if one exceeds ``tolerance``."""
        differences = compare(expected, found)
        check_tolerance(name, differences, tolerance)
        return differences

    def output_names(self, image: Tensor) -> List[str]:
        """A name for each output."""
        if self.part == 'segmentor':
            return ['logits']
        with torch.no_grad():
            count = len(self(image))
        if self.part != 'head':
            return [f'{self.part}_{i}' for i in range(count)]
        kinds = ('scores', 'boxes', 'centerness')
        levels = len(self.head.strides)
        return [
            f'{kinds[i // levels]}_{i % levels}'
            if i // levels < len(kinds)
            else f'head_{i}'
            for i in range(count)
        ]


def exportable(
    model: nn.Module, part: Optional[str] = None, keep_pooling: bool = False
) -> Exportable:
    """The part of a model to export.

    Args:
        model (nn.Module): See :class:`Exportable`.
        part (str, optional): One of ``PARTS``. Defaults to the largest one
            of a segmentor or backbone, and to 'neck' of a detector.
        keep_pooling (bool): See :class:`Exportable`. Defaults to False.

    Raises:
        UsageError: If the model has no such part.
    """
    segments = hasattr(model, 'decode_head')
    detects = hasattr(model, 'bbox_head') or hasattr(model, 'roi_head')
    dense = hasattr(model, 'bbox_head') and not hasattr(model, 'roi_head')
    has = dict(backbone=True, neck=detects, head=dense, segmentor=segments)
    if part is None:
        part = 'segmentor' if segments else 'neck' if detects else 'backbone'
    if part not in has or not has[part]:
        kind = type(model).__name__
        own = ' or '.join(name for name in PARTS if has[name])
        raise UsageError(f'the part of a {kind} must be {own}, got {part}.')
    return Exportable(model, part, keep_pooling)


def named(names: Sequence[str], values: Any) -> Dict[str, Tensor]:
    """The outputs of a module or file, one tensor or several, by name."""
    values = [values] if isinstance(values, Tensor) else list(values)
    return dict(zip(names, values, strict=True))


def keep_operator(model: nn.Module) -> int:
    """Turn large kernels into nodes ``mmrep::depthwise_conv2d``, in place.

    Returns:
        int: Number of these layers.
    """
    count = 0
    for module in model.modules():
        if type(module) is DepthwiseConv2d and is_eligible(module):
            # the weight stays, even if several places share it
            module.__class__ = OperatorNode
            count += 1
    return count


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from _flat(part)


def prepare_layers(model: nn.Module) -> None:
    """Replace what ONNX does not have, in place."""
    restore_uper_heads(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                size = child.output_size
                size = (size, size) if isinstance(size, int) else tuple(size)
                if None not in size:
                    setattr(module, name, MatrixPool2d(size))


@contextmanager
def symbolic_resizing(model: nn.Module) -> Iterator[None]:
    """Let MMSegmentation's heads resize to sizes that are not yet known.

    Their ``resize`` turns sizes into integers for a warning, which fixes the
    sizes in an exported graph. Each of their modules imports it by name, so it
    is patched in all of them while the graph is made.
    """

    def resize(
        input: Tensor,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = 'nearest',
        align_corners: Optional[bool] = None,
        warning: bool = True,
    ) -> Tensor:
        return F.interpolate(input, size, scale_factor, mode, align_corners)

    names = {
        parent.__module__
        for module in model.modules()
        for parent in type(module).__mro__
    }
    with ExitStack() as stack:
        for name in names:
            home = sys.modules.get(name)
            if name.startswith('mmseg.') and hasattr(home, 'resize'):
                stack.enter_context(patch.object(home, 'resize', resize))
        yield
