"""Small layers of OverLoCK: scaled shortcuts, residual kernels, a gate."""

import torch
from torch import Tensor, nn

from mmrep.models.layers.pointwise import may_overwrite
from mmrep.ops import DepthwiseConv2d


class ResidualDepthwise(DepthwiseConv2d):
    """A depth-wise 3x3 kernel whose input is added to its output.

    Args:
        channels (int): Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out = super().forward(x)
        return out.add_(x) if may_overwrite(out) else x + out


class LayerScale2d(nn.Module):
    """A factor and a shift for each channel.

    Args:
        channels (int): Channels of the map.
        init_value (float): Initial factor. Defaults to 1.
    """

    def __init__(self, channels: int, init_value: float = 1.0) -> None:
        super().__init__()
        # the shapes of the released files, in which this is a convolution
        self.weight = nn.Parameter(
            torch.full((channels, 1, 1, 1), float(init_value))
        )
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        weight = self.weight.reshape(1, -1, 1, 1)
        return torch.addcmul(self.bias.reshape(1, -1, 1, 1), x, weight)


class SEGate(nn.Module):
    """OverLoCK's squeeze-and-excitation, with a GELU.

    Args:
        channels (int): Channels of the map; between the two 1x1 convolutions
            there are an eighth of them, but at least 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden_channels = max(16, channels // 8)
        self.proj = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden_channels, 1),
            nn.GELU(),
            nn.Conv2d(hidden_channels, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape.

        The map is overwritten if no graph is recorded.
        """
        gate = self.proj(x)
        return x.mul_(gate) if may_overwrite(x) else x * gate
