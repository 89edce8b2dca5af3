"""Folding the batch norms of a trained model into its convolutions."""

import copy
from collections import Counter

import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmcv.cnn.bricks.wrappers import Conv2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.models.backbones.replknet import ConvFFN, RepLKBlock
from mmrep.models.layers import InplaceGELU
from mmrep.models.layers.conv_bn import bn_scale_shift, fold_bn
from mmrep.ops import DepthwiseConv2d

# Other subclasses, such as those that standardise their weight, may compute
# something else from it.
_CONVOLUTIONS = (nn.Conv2d, Conv2d, Conv2dAdaptivePadding, DepthwiseConv2d)


@torch.no_grad()
def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Fold batch norms into convolutions, in place, for inference.

    Folds each BN (also SyncBN) that follows a convolution in an
    ``nn.Sequential`` or in MMCV's ``ConvModule``, and the BN in front of the
    first 1x1 convolution of RepLKNet's blocks. What is folded becomes an
    ``nn.Identity``, so parameter names change: convert, then fuse, and save
    before fusing. A convolution that several places share, each with a norm
    of its own, becomes one of each place. A ReLU behind a convolution then
    works in place, and so does the blocks' GELU where no gradient is needed.
    A second call finds nothing to do.

    Args:
        model (nn.Module): A model in evaluation form; its re-parameterized
            branches are best merged before, with ``switch_to_deploy()``.

    Returns:
        nn.Module: The same model.

    Raises:
        ValueError: If the model is in training mode.
    """
    if model.training:
        raise ValueError(
            'fuse_conv_bn needs a model in evaluation mode, got '
            'one in training mode; call model.eval() first.'
        )
    places = Counter(
        id(child)
        for module in model.modules()
        for child in module.children()
        if isinstance(child, nn.Conv2d)
    )
    for module in list(model.modules()):
        if isinstance(module, ConvModule):
            if module.with_norm and module.order[:2] == ('conv', 'norm'):
                _fold_back(module, 'conv', module.norm_name, places)
        elif isinstance(module, nn.Sequential):
            names = list(module._modules)
            for conv, bn in zip(names, names[1:], strict=False):
                _fold_back(module, conv, bn, places)
            _overwrite_behind_convs(module)
        elif isinstance(module, RepLKBlock):
            _overwrite(module.lk_nonlinear)
            module.prelkb_bn = _fold_forward(module.prelkb_bn, module.pw1[0])
        elif isinstance(module, ConvFFN):
            _overwrite(module.nonlinear)
            module.preffn_bn = _fold_forward(module.preffn_bn, module.pw1[0])
    return model


def _is_foldable(conv: nn.Module, bn: nn.Module) -> bool:
    return (
        type(conv) in _CONVOLUTIONS
        and 'weight' in conv._parameters  # not computed by spectral_norm
        and isinstance(bn, _BatchNorm)
        and bn.running_var is not None
    )


def _overwrite_behind_convs(module: nn.Sequential) -> None:
    """Let a ReLU write into the output of the convolution before it."""
    fresh = False
    for layer in module:
        if fresh:
            _overwrite(layer)
        if not isinstance(layer, nn.Identity):
            fresh = isinstance(layer, nn.Conv2d)


def _overwrite(activation: nn.Module) -> None:
    """Spare an activation the memory for a new map.

    On a CPU, ReLU and GELU each gain a twentieth of RepLKNet-31B's time.
    """
    if isinstance(activation, nn.ReLU):
        activation.inplace = True
    elif type(activation) is nn.GELU:
        activation.__class__ = InplaceGELU


def _fold_back(
    parent: nn.Module, conv_name: str, bn_name: str, places: Counter
) -> None:
    """Fold a norm into the convolution before it, if there is one."""
    conv = getattr(parent, conv_name)
    bn = getattr(parent, bn_name)
    if not _is_foldable(conv, bn):
        return
    if places[id(conv)] > 1:
        places[id(conv)] -= 1
        conv = copy.deepcopy(conv)
        setattr(parent, conv_name, conv)
    _set(conv, *fold_bn(conv, bn))
    setattr(parent, bn_name, nn.Identity())


def _fold_forward(bn: nn.Module, conv: nn.Conv2d) -> nn.Module:
    """Fold a norm into the 1x1 convolution behind it; return what remains."""
    if not _is_foldable(conv, bn):
        return bn
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.double()
    bias = weight.sum((2, 3)) @ shift
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    weight = weight * scale.reshape(1, -1, 1, 1)
    _set(conv, weight.to(conv.weight.dtype), bias.to(conv.weight.dtype))
    return nn.Identity()


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Give a convolution a weight of its own, and a bias."""
    trains = conv.weight.requires_grad
    conv.weight = nn.Parameter(weight, requires_grad=trains)
    conv.bias = nn.Parameter(bias, requires_grad=trains)
