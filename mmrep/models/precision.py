"""Inference in 16 bits: which layers use it, and whether a device can."""

from typing import Any, Iterator, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from mmrep.errors import UsageError, one_line
from mmrep.models.tta import unwrapped

HALF = dict(bf16=torch.bfloat16, fp16=torch.float16)
# Layers that compute maps from maps; a model may have others if they have no
# parameters.
_FEATURES = ('backbone', 'neck')
_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head', 'head')
_ROI_HEADS = ('bbox_head', 'mask_head')
# Hidden layers of a head that contain no other modules.
_HIDDEN = ('rpn_conv',)
# Layers whose parameters have the type of their input.
_LAYERS = (
    nn.modules.conv._ConvNd, nn.Linear, nn.GroupNorm, nn.LayerNorm,
)  # fmt: skip

_PRODUCTS = (
    F.conv2d, F.conv_transpose2d, F.linear, torch.bmm, torch.einsum,
    torch.matmul,
)  # fmt: skip


def check_precision(
    dtype: str, device: Union[str, torch.device]
) -> Optional[str]:
    """Check whether a device can compute in 16 bits.

    Args:
        dtype (str): 'bf16' or 'fp16'.
        device (str | torch.device): Such as 'cpu' or 'cuda:1'.

    Returns:
        str, optional: A note for the user, for example that the processor has
            no instructions for the type.

    Raises:
        UsageError: If the device cannot compute in this type.
    """
    if dtype not in HALF:
        raise ValueError(f'dtype must be one of {tuple(HALF)}, got {dtype!r}.')
    device = torch.device(device)
    advice = 'choose another precision, or none for fp32'
    if device.type == 'cuda' and torch.cuda.is_available():
        if dtype == 'bf16' and not torch.cuda.is_bf16_supported(False):
            name = torch.cuda.get_device_name(device)
            raise UsageError(f'the {name} does not support bf16; {advice}.')
    try:
        x = torch.ones(1, 16, 8, 8, dtype=HALF[dtype], device=device)
        F.conv2d(x, x.expand(16, -1, -1, -1)[..., :3, :3])
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise UsageError(
            f'{device.type} cannot compute in {dtype} '
            f'({one_line(error, first=True)}); {advice}.'
        ) from error
    if device.type == 'cpu' and not _has_instructions(dtype):
        return (
            f'this processor has no instructions for {dtype}, so PyTorch '
            f'computes in fp32 and rounds: the scores are those of {dtype}, '
            'but it is no faster than fp32'
        )
    return None


def _has_instructions(dtype: str) -> bool:
    """Whether oneDNN supports a type on this processor."""
    return getattr(torch.ops.mkldnn, f'_is_mkldnn_{dtype}_supported')()


def use_half(model: nn.Module, dtype: str) -> nn.Module:
    """Make a model predict in 16 bits, layer by layer, in place.

    Backbone, neck and heads compute in 16 bits. These parts stay in fp32: the
    normalisation of pictures, batch norms, the last layers of the heads, and
    everything after those layers, namely boxes, NMS, RoIAlign and the choice
    of classes.

    Args:
        model (nn.Module): A segmentor, a detector, a classifier or a
            backbone with its weights, in evaluation mode; it may be inside a
            wrapper.
        dtype (str): 'bf16' or 'fp16'.

    Returns:
        nn.Module: The same model.

    Raises:
        UsageError: If it has unknown parts.
    """
    inner = unwrapped(model)
    _check_parts(inner)
    half = HALF[dtype]
    on_cpu = next(inner.parameters()).device.type == 'cpu'
    features = list(_modules(inner, _FEATURES)) or [inner]  # a backbone
    for part in features:
        _convert(part, half, (nn.Module,))
        part.register_forward_pre_hook(_Cast(half), with_kwargs=True)
    for head in _modules(inner, _HEADS):
        _convert(head, half, _LAYERS)
        _finish(head)
    roi_head = getattr(inner, 'roi_head', None)
    if roi_head is not None:
        for extractor in _modules(
            roi_head, ('bbox_roi_extractor', 'mask_roi_extractor')
        ):
            # 16 bits are too few for the coordinates of a large picture
            extractor.register_forward_pre_hook(
                _Cast(torch.float32), with_kwargs=True
            )
        for head in _modules(roi_head, _ROI_HEADS):
            _convert(head, half, _LAYERS)
            head.register_forward_pre_hook(_Cast(half), with_kwargs=True)
            _finish(head)
    if on_cpu and not _has_instructions(dtype):
        for part in {inner, *features, *_modules(inner, _HEADS)}:
            _compute_in_fp32(part)
    return model


def _check_parts(model: nn.Module) -> None:
    known = (*_FEATURES, *_HEADS, 'roi_head', 'data_preprocessor')
    others = [
        name
        for name, part in model.named_children()
        if name not in known and any(True for _ in part.parameters())
    ]
    if others and hasattr(model, 'backbone'):
        raise UsageError(
            '16 bits work only for models made of a backbone, a neck and '
            f'convolutional heads; {type(model).__name__} also has '
            f'{", ".join(others)}.'
        )


def _modules(parent: nn.Module, names: Tuple[str, ...]) -> Iterator[nn.Module]:
    """All modules in the lists of modules with these names."""
    for name in names:
        part = getattr(parent, name, None)
        if isinstance(part, nn.ModuleList):
            yield from part
        elif part is not None:
            yield part


def _convert(part: nn.Module, dtype: torch.dtype, kinds: tuple) -> None:
    """Convert the parameters of some kinds of layers, except batch norms."""
    for module in part.modules():
        if isinstance(module, kinds) and not isinstance(module, _BatchNorm):
            for tensor in (
                *module.parameters(recurse=False),
                *module.buffers(recurse=False),
            ):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.to(dtype)


def _finish(head: nn.Module) -> None:
    """Let a head's last layers compute and return fp32."""
    for name, layer in head.named_children():
        last = isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear))
        if last and name not in _HIDDEN:
            layer.float()
            layer.register_forward_pre_hook(
                _Cast(torch.float32), with_kwargs=True
            )
    head.register_forward_hook(
        lambda module, inputs, result: _cast(result, torch.float32)
    )


class _ByWayOfFp32(TorchFunctionMode):
    """Sums of products in fp32, rounded to 16 bits.

    A processor with instructions for 16 bits gives the same results; one
    without them would take about a hundred times as long with its substitute.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in args if isinstance(x, Tensor)]
        if func not in _PRODUCTS or not tensors:
            return func(*args, **kwargs)
        dtype = tensors[0].dtype
        if dtype not in HALF.values():
            return func(*args, **kwargs)
        args, kwargs = _cast((args, kwargs), torch.float32)
        return func(*args, **kwargs).to(dtype)


def _compute_in_fp32(part: nn.Module) -> None:
    """Make everything inside a module compute products in fp32."""
    mode = _ByWayOfFp32()

    def enter(*args: Any) -> None:
        mode.__enter__()

    def leave(*args: Any) -> None:
        mode.__exit__(None, None, None)

    part.register_forward_pre_hook(enter)
    part.register_forward_hook(leave, always_call=True)


class _Cast:
    """A hook that casts a module's floating-point inputs to a type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple:
        return _cast(args, self.dtype), _cast(kwargs, self.dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_cast(part, dtype) for part in value)
    if type(value) is dict:
        return {key: _cast(part, dtype) for key, part in value.items()}
    return value
