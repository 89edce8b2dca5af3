"""Build a convolution with its batch norm, and fold the norm into it."""

from collections import OrderedDict
from typing import Optional, Tuple

from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.errors import UsageError
from mmrep.ops import DepthwiseConv2d


class UnmergeableError(UsageError, NotImplementedError):
    """A norm cannot be folded, so the model has no deploy form."""


class NormFirstBlock(nn.Module):
    """A block with a norm in front of a 1x1 convolution.

    :func:`mmrep.deploy.fuse_conv_bn` folds norms after convolutions by itself;
    a block folds other norms in :meth:`fold_norms`.
    """

    def fold_norms(self) -> None:
        """Fold the norm in front into the convolution, for inference."""
        raise NotImplementedError


def build_conv_bn(
    conv: nn.Conv2d, norm_cfg: dict, act_cfg: Optional[dict] = None
) -> nn.Sequential:
    """Put a norm, and an activation if given, after a convolution.

    The children are named ``conv``, ``bn`` and ``nonlinear`` as in the
    released checkpoints.

    Args:
        conv (nn.Conv2d): The convolution, usually without bias.
        norm_cfg (dict): Config of the norm layer.
        act_cfg (dict, optional): Config of the activation. Defaults to None.

    Returns:
        nn.Sequential: Maps (N, C_in, H, W) to (N, C_out, H', W').
    """
    layers = OrderedDict(
        conv=conv, bn=build_norm_layer(norm_cfg, conv.out_channels)[1]
    )
    if act_cfg is not None:
        layers['nonlinear'] = build_activation_layer(act_cfg)
    return nn.Sequential(layers)


def fold_bn(conv: nn.Conv2d, bn: nn.Module) -> Tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals ``bn(conv(x))``.

    The arithmetic is in double precision; the result has the weight's dtype
    and is differentiable.

    Args:
        conv (nn.Conv2d): The convolution.
        bn (nn.Module): The batch norm after it, of any BN type, in evaluation
            form.

    Returns:
        tuple[Tensor, Tensor]: Weight, shape as ``conv.weight``, and bias,
        shape (C_out, ).
    """
    return fold_affine(conv.weight, conv.bias, *bn_scale_shift(bn))


def fold_affine(
    weight: Tensor, bias: Optional[Tensor], scale: Tensor, shift: Tensor
) -> Tuple[Tensor, Tensor]:
    """Fold a scale and a shift of the output channels into a convolution.

    Args:
        weight (Tensor): Weight of a convolution or a linear layer, shape
            (C_out, ...).
        bias (Tensor, optional): Its bias, shape (C_out, ).
        scale (Tensor): Shape (C_out, ), in double precision.
        shift (Tensor): Likewise.

    Returns:
        tuple[Tensor, Tensor]: Weight and bias in the weight's dtype.
    """
    folded = weight.double() * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    if bias is not None:
        shift = shift + bias.double() * scale
    return folded.to(weight.dtype), shift.to(weight.dtype)


def is_frozen_bn(module: nn.Module) -> bool:
    """Whether a module is a batch norm that uses its running statistics."""
    return (
        isinstance(module, _BatchNorm)
        and not module.training
        and module.running_var is not None
    )


def bn_scale_shift(bn: nn.Module) -> Tuple[Tensor, Tensor]:
    """The affine map of a batch norm in evaluation form.

    Args:
        bn (nn.Module): A batch norm with running statistics.

    Returns:
        tuple[Tensor, Tensor]: Scale and shift in double precision, each of
        shape (C, ).

    Raises:
        UnmergeableError: If the norm is not a BN with running statistics.
    """
    if getattr(bn, 'running_var', None) is None:
        raise UnmergeableError(
            'only a batch norm with running statistics can be folded into a '
            f'convolution, got {type(bn).__name__}; use the training form.'
        )
    scale = (bn.running_var.double() + bn.eps).rsqrt()
    if bn.weight is not None:
        scale = scale * bn.weight.double()
    shift = -bn.running_mean.double() * scale
    if bn.bias is not None:
        shift = shift + bn.bias.double()
    return scale, shift


def is_foldable(
    conv: nn.Module, bn: nn.Module, others: Tuple[type, ...] = ()
) -> bool:
    """Whether a norm can be folded into a convolution next to it.

    Subclasses of ``nn.Conv2d``, such as those that standardise their weight,
    may compute something else, so the class must be a known one.

    Args:
        conv (nn.Module): Any module; only a convolution can be folded into.
        bn (nn.Module): Any module; only a batch norm can be folded.
        others (tuple[type, ...]): Other classes that compute the same as
            ``nn.Conv2d``. Defaults to ().
    """
    return (
        type(conv) in (nn.Conv2d, DepthwiseConv2d, *others)
        and 'weight' in conv._parameters  # not computed by spectral_norm
        and isinstance(bn, _BatchNorm)
        and bn.running_var is not None
    )


def fold_bn_ahead(bn: nn.Module, conv: nn.Conv2d) -> nn.Module:
    """Fold a norm into the 1x1 convolution after it, in place.

    Args:
        bn (nn.Module): The norm in front.
        conv (nn.Conv2d): A convolution without padding.

    Returns:
        nn.Module: The replacement of the norm: an ``nn.Identity``, or the norm
            itself if it cannot be folded.
    """
    if not is_foldable(conv, bn):
        return bn
    scale, shift = bn_scale_shift(bn)
    weight = conv.weight.double()
    bias = weight.sum((2, 3)) @ shift
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    weight = weight * scale.reshape(1, -1, 1, 1)
    dtype = conv.weight.dtype
    set_parameters(conv, weight.to(dtype), bias.to(dtype))
    return nn.Identity()


def fold_bn_behind(block: nn.Module, bn: nn.Module) -> nn.Module:
    """Fold a norm into the large kernel before it, in place.

    Args:
        block (nn.Module): A :class:`DilatedReparamBlock`; the norm can be
            folded only into its deploy form.
        bn (nn.Module): The norm after it.

    Returns:
        nn.Module: The replacement of the norm: an ``nn.Identity``, or the norm
            itself if it cannot be folded.
    """
    if block.origin_bn is not None or not is_foldable(block.lk_origin, bn):
        return bn
    set_parameters(block.lk_origin, *fold_bn(block.lk_origin, bn))
    return nn.Identity()


def set_parameters(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Give a convolution a new weight and a bias."""
    trains = conv.weight.requires_grad
    conv.weight = nn.Parameter(weight, requires_grad=trains)
    conv.bias = nn.Parameter(bias, requires_grad=trains)
