"""The decoder of Corrformer, which makes UniRepLKNet's forecasts.

Paper: `Interpretable weather forecasting for worldwide stations with a unified
deep model <https://www.nature.com/articles/s42256-023-00667-9>`_ (Nature
Machine Intelligence 2023), equations 5 to 10.
Source: https://github.com/AILab-CVC/UniRepLKNet/tree/b5677d8/Time-Series

Series are (N, L, C): one for each station, with L steps and C channels. The
published code computes circular correlations with an FFT and then takes their
mean over the channels. Here the mean comes from the product of all pairs of
steps, which gives the same number and can be exported to ONNX.
"""

import math
from typing import Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


def fit_length(x: Tensor, length: int) -> Tensor:
    """Cut or zero-pad steps, dimension -2, at the end."""
    return nn.functional.pad(x, (0, 0, 0, length - x.size(-2)))


def circular_correlation(query: Tensor, key: Tensor) -> Tensor:
    """Correlate over the steps, on average over the channels.

    Args:
        query (Tensor): Shape (..., L, C).
        key (Tensor): Shape (..., L, C).

    Returns:
        Tensor: Shape (..., L): at d, the mean over C of the sum over t of
        query[t] * key[t - d], with steps counted modulo L.
    """
    length = query.size(-2)
    # at (s, t): key[s] * query[t]
    products = key / query.size(-1) @ query.transpose(-1, -2)
    # twice side by side, with each row one step further left than the last
    rows = torch.cat([products, products], -1).flatten(-2)
    rows = nn.functional.pad(rows, (0, length)).unflatten(-1, (length, -1))
    return rows[..., :length].sum(-2)


def shift(x: Tensor, delay: Tensor) -> Tensor:
    """Move each series forward in time by its own delay, modulo L.

    Args:
        x (Tensor): Shape (..., L, C).
        delay (Tensor): Integers, shape (...).

    Returns:
        Tensor: Shape (..., L, C): at t, the x of t - delay.
    """
    steps = torch.arange(x.size(-2), device=x.device)
    index = (steps - delay[..., None]) % x.size(-2)
    return x.gather(-2, index[..., None].expand_as(x))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., L, C) to (..., heads, L, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def join_heads(x: Tensor) -> Tensor:
    """(..., heads, L, C) to (..., L, heads * C)."""
    return x.transpose(-2, -3).flatten(-2)


class Projections(nn.Module):
    """The linear layers around a correlation.

    Args:
        channels (int): Channels of the series.
        heads (int): Number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_projection = nn.Linear(channels, channels)
        self.key_projection = nn.Linear(channels, channels)
        self.value_projection = nn.Linear(channels, channels)
        self.out_projection = nn.Linear(channels, channels)

    def project(
        self, query: Tensor, context: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., heads, L, C), of the same length."""
        length = query.size(-2)
        return tuple(
            split_heads(fit_length(layer(x), length), self.heads)
            for layer, x in (
                (self.query_projection, query),
                (self.key_projection, context),
                (self.value_projection, context),
            )
        )


class AutoCorrelation(Projections):
    """Values of the delays at which a station's series agree best."""

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Map (N, L, C) and (N, S, C) to (N, L, C)."""
        query, key, value = self.project(query, context)
        correlation = circular_correlation(query, key)
        weights, delays = correlation.topk(int(math.log(query.size(-2))))
        weights = weights.softmax(-1)
        out = sum(
            # the values of t + delay, as published
            shift(value, -delays[..., i]) * weights[..., i, None, None]
            for i in range(delays.size(-1))
        )
        return self.out_projection(join_heads(out))


class CausalConv(nn.Module):
    """A residual pair of causal convolutions over the stations.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int): Stations that a kernel spans. Defaults to 3.
        dropout (float): Probability. Defaults to 0.2.
    """

    def __init__(
        self, channels: int, kernel_size: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, kernel_size)
        self.conv2 = nn.Conv1d(channels, channels, kernel_size)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, 0, 0.01)
            weight_norm(conv)
        self.dropout = nn.Dropout(dropout)
        self.pad = (kernel_size - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, stations) to the same shape."""
        out = x
        for conv in (self.conv1, self.conv2):
            out = self.dropout(conv(nn.functional.pad(out, self.pad)).relu())
        return (x + out).relu()


class CrossCorrelation(Projections):
    """Correlation of stations with their mean, and values at the delays.

    Args:
        channels (int): Channels of the series.
        heads (int): Number of heads.
        length (int): Steps of the queries, which the causal convolution
            takes as channels.
    """

    def __init__(self, channels: int, heads: int, length: int) -> None:
        super().__init__(channels, heads)
        self.causal_conv = CausalConv(channels // heads * length)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Map (B, stations, L, C) and (B, stations, S, C) to (.., L, C)."""
        query, key, value = self.project(query, context)
        pivot = query.mean(1, keepdim=True).expand_as(query)
        weight, delay = circular_correlation(pivot, key).max(-1)
        value = shift(value, delay) * weight.sigmoid()[..., None, None]
        # stations in the order in which the weather reaches them, last first;
        # those reached together stay in their own order
        stations = torch.arange(delay.size(1), device=delay.device)
        order = stations[:, None] - delay * delay.size(1)
        order = order.argsort(1)
        index = order[..., None, None].expand_as(value)
        # (B, stations, heads, L, C) to (B * heads, C * L, stations)
        sorted_value = value.gather(1, index).permute(0, 2, 4, 3, 1)
        out = self.causal_conv(sorted_value.flatten(2, 3).flatten(0, 1))
        out = out.reshape(sorted_value.shape).permute(0, 4, 1, 3, 2)
        out = out.gather(1, order.argsort(1)[..., None, None].expand_as(out))
        return self.out_projection(join_heads(shift(out, -delay)))


class MultiCorrelation(nn.Module):
    """Auto-correlation of stations, cross-correlation of groups of them.

    Args:
        channels (int): Channels of the series.
        heads (int): Number of heads.
        length (int): Steps of the queries.
        tree (Sequence[int]): Groups, groups in each of them, and so on; the
            product is the number of stations.
        dropout (float): Probability.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        length: int,
        tree: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.tree = tuple(tree)
        self.auto_correlation = AutoCorrelation(channels, heads)
        self.cross_correlation = CrossCorrelation(channels, heads, length)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map (B * stations, L, C) and (B * stations, S, C) to (.., L, C)."""
        own = self.dropout(self.auto_correlation(x, context))
        levels = []
        for i in range(len(self.tree)):
            # siblings: (B * groups above, groups, stations in each, L, C)
            rest = math.prod(self.tree[i + 1 :])
            siblings, others = (
                series.unflatten(0, (-1, self.tree[i], rest)).mean(2)
                for series in (x, context)
            )
            out = self.cross_correlation(siblings, others)
            out = out[:, :, None].expand(-1, -1, rest, -1, -1)
            levels.append(out.reshape(x.shape))
        return own + self.dropout(sum(levels) / len(levels))


class SeriesDecomposition(nn.Module):
    """Split series into the moving average and the remainder.

    Args:
        window (int): Steps of the average, odd.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.pad = (window - 1) // 2
        self.average = nn.AvgPool1d(window, stride=1)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Map (N, L, C) to seasonal and trend parts, both (N, L, C)."""
        # the first and last steps are repeated
        padded = torch.cat(
            [
                x[:, :1].expand(-1, self.pad, -1),
                x,
                x[:, -1:].expand(-1, self.pad, -1),
            ],
            1,
        )
        trend = self.average(padded.transpose(1, 2)).transpose(1, 2)
        return x - trend, trend


class SeasonalLayerNorm(nn.LayerNorm):
    """Layer norm whose output has mean 0 over the steps."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, L, C) to the same shape."""
        x = super().forward(x)
        return x - x.mean(1, keepdim=True)


class DecoderLayer(nn.Module):
    """Correlations with the past and with the map, and a feed-forward net.

    Args:
        channels (int): Channels of the series.
        out_channels (int): Channels of the trend.
        length (int): Steps of the series.
        tree (Sequence[int]): See :class:`MultiCorrelation`.
        heads (int): Number of heads.
        ffn_channels (int): Channels within the feed-forward net.
        window (int): Steps of the moving averages.
        dropout (float): Probability.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        length: int,
        tree: Sequence[int],
        heads: int,
        ffn_channels: int,
        window: int,
        dropout: float,
    ) -> None:
        super().__init__()
        args = (channels, heads, length, tree, dropout)
        self.multi_correlation = MultiCorrelation(*args)
        self.cross_multi_correlation = MultiCorrelation(*args)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ffn_channels, bias=False),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(ffn_channels, channels, bias=False),
            nn.Dropout(dropout),
        )
        self.decomposition = SeriesDecomposition(window)
        self.projection = nn.Conv1d(
            channels,
            out_channels,
            3,
            padding=1,
            padding_mode='circular',
            bias=False,
        )

    def forward(self, x: Tensor, context: Tensor) -> Tuple[Tensor, Tensor]:
        """Map (N, L, C) and (N, S, C) to seasonal (N, L, C) and trend."""
        x, trend1 = self.decomposition(x + self.multi_correlation(x, x))
        x, trend2 = self.decomposition(
            x + self.cross_multi_correlation(x, context)
        )
        x, trend3 = self.decomposition(x + self.ffn(x))
        trend = self.projection((trend1 + trend2 + trend3).transpose(1, 2))
        return x, trend.transpose(1, 2)
