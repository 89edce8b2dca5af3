"""Layers that UniRepLKNet applies per position: linear, norms, gate.

Maps are (N, C, H, W) with channels_last memory throughout, so the values of a
position are adjacent and layers over channels read them in place.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Elements of a map that a CPU processes at a time.
BLOCK = 1 << 18


class PointwiseLinear(nn.Linear):
    """A linear layer over the channels of a map: a 1x1 convolution.

    It is one matrix product over all positions; neither permutation moves
    data. Arguments, parameters and state dict are those of ``nn.Linear``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return pointwise_linear(x, self.weight, self.bias)


def pointwise_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer over the channels of a map.

    Args:
        x (Tensor): Shape (N, C_in, H, W).
        weight (Tensor): Shape (C_out, C_in).
        bias (Tensor, optional): Shape (C_out, ).

    Returns:
        Tensor: Shape (N, C_out, H, W), channels_last.
    """
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def may_overwrite(x: Tensor) -> bool:
    """Whether a map that nothing else reads may be overwritten.

    On a CPU, allocating a large map costs more than the arithmetic on it.
    """
    return not (
        x.requires_grad
        or torch.jit.is_tracing()
        or torch.compiler.is_compiling()
    )


class InplaceGELU(nn.GELU):
    """GELU that writes into its input, unless a graph is recorded."""

    def forward(self, x: Tensor) -> Tensor:
        """Overwrite a map that nothing else reads."""
        if not may_overwrite(x):
            return super().forward(x)
        return torch.ops.aten.gelu_(x, approximate=self.approximate)


def overwrite_input(activation: nn.Module) -> None:
    """Let a ReLU or GELU overwrite its input instead of making a new map.

    On a CPU, this saves a twentieth of RepLKNet-31B's time for ReLU and
    another for GELU.
    """
    if isinstance(activation, nn.ReLU):
        activation.inplace = True
    elif type(activation) is nn.GELU:
        # a change of class keeps hooks, and other references to the module
        activation.__class__ = InplaceGELU


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels at each position.

    Args:
        channels (int): Channels of the map.
        eps (float): Added to the variance. Defaults to 1e-6.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response normalization of each channel by its norm.

    `ConvNeXt V2 <https://arxiv.org/abs/2301.00808>`_, with the 1 of the
    residual inside the product.

    Args:
        channels (int): Channels of the map.
        bias (bool): Add ``beta``. Defaults to True.
        channels_first (bool): Shape of the parameters in the released files:
            (1, C, 1, 1), or (1, 1, 1, C). Defaults to False.
    """

    eps = 1e-6

    def __init__(
        self, channels: int, bias: bool = True, channels_first: bool = False
    ) -> None:
        super().__init__()
        shape = (1, channels, 1, 1) if channels_first else (1, 1, 1, channels)
        self.gamma = nn.Parameter(torch.zeros(shape))
        self.beta: Optional[nn.Parameter] = None
        if bias:
            self.beta = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, with_bias: bool = True) -> Tensor:
        """Map (N, C, H, W) to the same shape.

        ``with_bias=False`` leaves ``beta`` to the next layer. Without ``beta``
        the map is overwritten if no graph is recorded.
        """
        beta = self.beta if with_bias else None
        gamma = self.gamma.reshape(1, 1, 1, -1)
        if beta is not None:
            beta = beta.reshape(1, 1, 1, -1)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return _grn(x, gamma, beta, self.eps)
        if torch.is_grad_enabled():
            return _GRNFunction.apply(x, gamma, beta, self.eps)
        norms = _channel_norms(x)
        if beta is None and may_overwrite(x):
            scale = _relative(norms, self.eps) * gamma.permute(0, 3, 1, 2)
            return x.mul_(scale.add_(1))
        return _grn(x, gamma, beta, self.eps, norms)


def _grn(
    x: Tensor,
    gamma: Tensor,
    beta: Optional[Tensor],
    eps: float,
    norms: Optional[Tensor] = None,
) -> Tensor:
    """The definition, with the product and the sum in one pass."""
    if norms is None:
        norms = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    scale = _relative(norms, eps) * gamma.permute(0, 3, 1, 2) + 1
    if beta is None:
        return x * scale
    return torch.addcmul(beta.permute(0, 3, 1, 2), x, scale)


def _relative(norms: Tensor, eps: float) -> Tensor:
    return norms / (norms.mean(1, keepdim=True) + eps)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Sum of the product over each map, shape (N, C, 1, 1).

    A CPU processes a block at a time, so the product stays in the cache;
    PyTorch reduces it faster than it computes the norm in this layout.
    """
    n, c, h, w = x.shape
    if x.device.type != 'cpu' or n * c * h * w <= BLOCK:
        return (x * y).sum((2, 3), keepdim=True)
    total = x.new_zeros(n, c)
    rows = max(1, BLOCK // c)
    for i in range(n):
        a, b = (t[i].permute(1, 2, 0).reshape(h * w, c) for t in (x, y))
        for part, other in zip(a.split(rows), b.split(rows), strict=True):
            total[i] += (part * other).sum(0)
    return total[:, :, None, None]


def _channel_norms(x: Tensor) -> Tensor:
    if x.dtype in (torch.float16, torch.bfloat16):
        # squares exceed the range of half precision
        return torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    return _dot(x, x).sqrt()


class _GRNFunction(torch.autograd.Function):
    """GRN with fewer passes over the map than autograd's own backward."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        norms = _channel_norms(x)
        ctx.save_for_backward(x, gamma, norms)
        ctx.eps = eps
        ctx.has_beta = beta is not None
        return _grn(x, gamma, beta, eps, norms)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, gamma, norms = ctx.saved_tensors
        mean = norms.mean(1, keepdim=True) + ctx.eps
        relative = norms / mean
        gamma = gamma.permute(0, 3, 1, 2)
        grad_scale = _dot(grad, x)
        grad_gamma = (grad_scale * relative).sum(0, keepdim=True)
        grad_beta = None
        if ctx.has_beta:
            grad_beta = grad.sum((0, 2, 3), keepdim=True).permute(0, 2, 3, 1)
        # of relative = norms / mean, where mean holds every channel's norm
        grad_relative = grad_scale * gamma
        grad_norms = (
            grad_relative - (grad_relative * relative).mean(1, keepdim=True)
        ) / mean
        along = torch.where(norms > 0, grad_norms / norms, 0)
        grad_x = (grad * (relative * gamma + 1)).addcmul_(x, along)
        return grad_x, grad_gamma.permute(0, 2, 3, 1), grad_beta, None


class SEBlock(nn.Module):
    """Squeeze-and-excitation: a gate per channel from the mean of the map.

    `Squeeze-and-Excitation Networks <https://arxiv.org/abs/1709.01507>`_.

    Args:
        channels (int): Channels of the map.
        hidden_channels (int): Channels between the two 1x1 convolutions.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden_channels, 1)
        self.up = nn.Conv2d(hidden_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape.

        The map is overwritten if no graph is recorded.
        """
        gate = F.relu(self.down(x.mean((2, 3), keepdim=True)))
        gate = self.up(gate).sigmoid()
        return x.mul_(gate) if may_overwrite(x) else x * gate
