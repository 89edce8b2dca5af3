"""Fold the batch norms of a trained model into its convolutions."""

import copy
from collections import Counter

import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmcv.cnn.bricks.wrappers import Conv2d
from torch import nn

from mmrep.models.layers import NormFirstBlock, overwrite_input
from mmrep.models.layers.conv_bn import fold_bn, is_foldable, set_parameters

# MMCV's plain convolutions, which compute the same as PyTorch's
_MMCV_CONVOLUTIONS = (Conv2d, Conv2dAdaptivePadding)


@torch.no_grad()
def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Fold batch norms into convolutions, in place, for inference.

    It folds each BN or SyncBN that follows a convolution in an
    ``nn.Sequential`` or in MMCV's ``ConvModule``, and the norms that blocks of
    our backbones fold themselves (``NormFirstBlock.fold_norms``). A folded
    norm becomes an ``nn.Identity``, so parameter names change: convert, then
    fuse, and save before fusing. If several places share a convolution, each
    with its own norm, each place gets its own copy. A ReLU after a convolution
    then works in place, and so does the blocks' GELU if no gradient is needed.
    A second call does nothing.

    Args:
        model (nn.Module): A model in evaluation mode; merge its
            re-parameterized branches first, with ``switch_to_deploy()``.

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
        elif isinstance(module, NormFirstBlock):
            module.fold_norms()
    return model


def _overwrite_behind_convs(module: nn.Sequential) -> None:
    """Let a ReLU overwrite the output of the convolution before it."""
    fresh = False
    for layer in module:
        if fresh:
            overwrite_input(layer)
        if not isinstance(layer, nn.Identity):
            fresh = isinstance(layer, nn.Conv2d)


def _fold_back(
    parent: nn.Module, conv_name: str, bn_name: str, places: Counter
) -> None:
    """Fold a norm into the convolution before it, if there is one."""
    conv = getattr(parent, conv_name)
    bn = getattr(parent, bn_name)
    if not is_foldable(conv, bn, _MMCV_CONVOLUTIONS):
        return
    if places[id(conv)] > 1:
        places[id(conv)] -= 1
        conv = copy.deepcopy(conv)
        setattr(parent, conv_name, conv)
    set_parameters(conv, *fold_bn(conv, bn))
    setattr(parent, bn_name, nn.Identity())
