"""What UniRepLKNet computes per position: linear layer, norms, gate.

Maps are (N, C, H, W) with channels_last memory throughout, where the values
of a position are adjacent: layers over channels then read them in place.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PointwiseLinear(nn.Linear):
    """A linear layer over the channels of a map: a 1x1 convolution.

    Arguments, parameters and state dict are those of ``nn.Linear``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


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
    """

    eps = 1e-6

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        # the shape in the released files, where channels come last
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta: Optional[nn.Parameter] = None
        if bias:
            self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor, with_bias: bool = True) -> Tensor:
        """Map (N, C, H, W) to the same shape.

        ``with_bias=False`` leaves ``beta`` to the layer behind.
        """
        norm = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        norm = norm / (norm.mean(1, keepdim=True) + self.eps)
        scale = 1 + self.gamma.permute(0, 3, 1, 2) * norm
        if self.beta is None or not with_bias:
            return x * scale
        # one pass over the map
        return torch.addcmul(self.beta.permute(0, 3, 1, 2), x, scale)


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
        """Map (N, C, H, W) to the same shape."""
        gate = F.relu(self.down(x.mean((2, 3), keepdim=True)))
        return x * self.up(gate).sigmoid()
