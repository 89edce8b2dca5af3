"""Folding the batch norms of a trained model into its convolutions."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.models.backbones.replknet import ConvFFN, RepLKBlock
from mmrep.models.layers.conv_bn import bn_scale_shift, fold_bn


@torch.no_grad()
def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Fold batch norms into convolutions, in place, for inference.

    Folds each BN (also SyncBN) that follows a convolution in an
    ``nn.Sequential`` or in MMCV's ``ConvModule``, and the BN in front of the
    first 1x1 convolution of RepLKNet's blocks. What is folded becomes an
    ``nn.Identity``, so parameter names change: convert, then fuse, and save
    before fusing. A ReLU behind a convolution then works in place. A second
    call finds nothing to do.

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
    for module in model.modules():
        if isinstance(module, ConvModule):
            _fuse_conv_module(module)
        elif isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if _is_foldable(module[i], module[i + 1]):
                    _set(module[i], *fold_bn(module[i], module[i + 1]))
                    module[i + 1] = nn.Identity()
            _overwrite_behind_convs(module)
        elif isinstance(module, RepLKBlock):
            _overwrite(module.lk_nonlinear)
            module.prelkb_bn = _fold_forward(module.prelkb_bn, module.pw1[0])
        elif isinstance(module, ConvFFN):
            module.preffn_bn = _fold_forward(module.preffn_bn, module.pw1[0])
    return model


def _is_foldable(conv: nn.Module, bn: nn.Module) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and isinstance(bn, _BatchNorm)
        and bn.track_running_stats
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
    """Spare a ReLU the memory for a new map: a twentieth of the time."""
    if isinstance(activation, nn.ReLU):
        activation.inplace = True


def _fuse_conv_module(module: ConvModule) -> None:
    """Fold the norm of a ConvModule whose order is conv, norm, ..."""
    if not module.with_norm or module.order[:2] != ('conv', 'norm'):
        return
    if _is_foldable(module.conv, module.norm):
        _set(module.conv, *fold_bn(module.conv, module.norm))
        setattr(module, module.norm_name, nn.Identity())


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
    conv.weight.data = weight
    conv.bias = nn.Parameter(bias)
