"""Forecasting models: UniRepLKNet as published, and a linear one."""

import math
from typing import List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmrep.errors import UsageError
from mmrep.registry import MODELS

from .correlation import DecoderLayer, SeasonalLayerNorm, SeriesDecomposition


class Forecaster(BaseModel):
    """Base of forecasting models: losses, and samples for the metric.

    Subclasses map ``series`` (N, input_len, S) and ``marks`` (N, input_len +
    pred_len, M) to a forecast (N, pred_len, S) in the series' own units.
    """

    def forecast(self, series: Tensor, marks: Tensor) -> Tensor:
        """Forecast the steps that follow."""
        raise NotImplementedError

    def forward(
        self,
        inputs: dict,
        data_samples: Optional[dict] = None,
        mode: str = 'tensor',
    ) -> Union[Tensor, dict, List[dict]]:
        """Run on a batch of windows.

        Args:
            inputs (dict): ``series`` (N, input_len, S) and ``marks`` (N,
                input_len + pred_len, M).
            data_samples (dict, optional): ``target`` (N, pred_len, S) and
                ``valid``, whether it was measured, of the same shape.
            mode (str): 'tensor' for the forecast, 'predict' for dicts with
                forecast, target, valid and series of each window, 'loss' for
                the mean squared error. Defaults to 'tensor'.
        """
        forecast = self.forecast(inputs['series'], inputs['marks'])
        if mode == 'tensor':
            return forecast
        if mode == 'predict':
            return [
                dict(forecast=f, target=t, valid=v, series=s)
                for f, t, v, s in zip(
                    forecast,
                    data_samples['target'],
                    data_samples['valid'],
                    inputs['series'],
                    strict=True,
                )
            ]
        if mode == 'loss':
            error = (forecast - data_samples['target']).square()
            valid = data_samples['valid']
            return dict(loss=(error * valid).sum() / valid.sum().clamp(min=1))
        raise ValueError(
            f"mode must be 'tensor', 'predict' or 'loss', got {mode!r}."
        )


class Embedding(nn.Module):
    """Values, time and place of a series as vectors.

    Args:
        in_channels (int): Series of a station.
        channels (int): Length of the vectors.
        num_marks (int): Features of a time.
        positions (Tensor, optional): Standardised places (stations, P).
        dropout (float): Probability.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_marks: int,
        positions: Optional[Tensor],
        dropout: float,
    ) -> None:
        super().__init__()
        self.value = nn.Conv1d(
            in_channels,
            channels,
            3,
            padding=1,
            padding_mode='circular',
            bias=False,
        )
        nn.init.kaiming_normal_(self.value.weight, nonlinearity='leaky_relu')
        self.time = nn.Linear(num_marks, channels, bias=False)
        self.register_buffer('positions', positions, persistent=False)
        if positions is not None:
            self.place = nn.Linear(positions.size(1), channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, marks: Tensor) -> Tensor:
        """Map (N, stations, L, C) and (N, L, M) to (N, stations, L, D)."""
        shape = x.shape[:2]
        out = self.value(x.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
        out = out.unflatten(0, shape) + self.time(marks)[:, None]
        if self.positions is not None:
            out = out + self.place(self.positions)[:, None]
        return self.dropout(out)


@MODELS.register_module()
class UniRepLKNetForecaster(Forecaster):
    """UniRepLKNet as the encoder of Corrformer.

    Each station's steps become vectors, which together form one square map
    with one channel; the decoder looks back at the positions of the backbone's
    last map. Source: Time-Series/models/Corrformer.py of
    AILab-CVC/UniRepLKNet@b5677d8.

    Args:
        backbone (dict): Config of the backbone; one channel in.
        channels (int): Length of the vectors, as many as the channels of the
            backbone's last map. ``input_len * channels`` must be a square.
        num_stations (int): Number of stations.
        station_channels (int): Series of a station. Defaults to 1.
        tree (Sequence[int], optional): Groups of stations, groups in each of
            them, and so on; the product is ``num_stations``. Defaults to
            None, one group.
        positions (Sequence[Sequence[float]] | str, optional): Latitude,
            longitude and the like for the series of each station, or a .npy
            file with them, (num_stations * station_channels, P). Defaults to
            None.
        input_len (int): Number of input steps. Defaults to 48.
        label_len (int): Number of last input steps from which the decoder
            starts. Defaults to 24.
        pred_len (int): Number of forecast steps. Defaults to 24.
        num_marks (int): Features of a time: 4 for hours, 3 for days, one
            less without the day of the year. Defaults to 4.
        heads (int): Heads of the correlations. Defaults to 16.
        ffn_channels (int): Channels in the decoder's feed-forward net.
            Defaults to 2048.
        window (int): Steps of the moving averages. Defaults to 25.
        dropout (float): Probability. Defaults to 0.05.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int,
        num_stations: int,
        station_channels: int = 1,
        tree: Optional[Sequence[int]] = None,
        positions: Optional[Union[str, Sequence]] = None,
        input_len: int = 48,
        label_len: int = 24,
        pred_len: int = 24,
        num_marks: int = 4,
        heads: int = 16,
        ffn_channels: int = 2048,
        window: int = 25,
        dropout: float = 0.05,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        tree = (num_stations,) if tree is None else tuple(tree)
        if math.prod(tree) != num_stations:
            raise ValueError(
                f'the product of tree must be num_stations, {num_stations}, '
                f'got {tree}.'
            )
        self.side = math.isqrt(input_len * channels)
        if self.side**2 != input_len * channels:
            raise ValueError(
                'input_len * channels must be a square, for one map per '
                f'station, got {input_len} * {channels}.'
            )
        if channels % heads:
            raise ValueError(
                f'channels must be a multiple of heads, got {channels} and '
                f'{heads}.'
            )
        self.num_stations = num_stations
        self.station_channels = station_channels
        self.input_len = input_len
        self.label_len = label_len
        self.pred_len = pred_len
        places = read_positions(positions, num_stations, station_channels)
        embedding = (station_channels, channels, num_marks, places, dropout)
        self.encoder_embedding = Embedding(*embedding)
        self.decoder_embedding = Embedding(*embedding)
        self.backbone = MODELS.build(backbone)
        self.decomposition = SeriesDecomposition(window)
        self.decoder = DecoderLayer(
            channels,
            station_channels,
            label_len + pred_len,
            tree,
            heads,
            ffn_channels,
            window,
            dropout,
        )
        self.norm = SeasonalLayerNorm(channels)
        self.projection = nn.Linear(channels, station_channels)
        self.affine_weight = nn.Parameter(torch.ones(station_channels))
        self.affine_bias = nn.Parameter(torch.zeros(station_channels))

    def encode(self, x: Tensor, marks: Tensor) -> Tensor:
        """Map (N, stations, L, C) to positions of a map (.., S, channels)."""
        embedded = self.encoder_embedding(x, marks)
        maps = embedded.reshape(-1, 1, self.side, self.side)
        return self.backbone(maps)[-1].flatten(2).transpose(1, 2)

    def forecast(self, series: Tensor, marks: Tensor) -> Tensor:
        """Map (N, L, stations * C) to (N, pred_len, stations * C)."""
        steps, count = series.shape[1:]
        if steps != self.input_len:
            raise UsageError(
                'input_len of the model and of the data set must be the '
                f'same, got {self.input_len} and {steps}.'
            )
        if marks.size(1) != steps + self.pred_len:
            raise UsageError(
                'pred_len of the model and of the data set must be the '
                f'same, got {self.pred_len} and {marks.size(1) - steps}.'
            )
        if count != self.num_stations * self.station_channels:
            raise UsageError(
                f'the data set has {count} series; num_stations of the model '
                f'times station_channels, {self.station_channels}, must be '
                f'as many, got {self.num_stations} stations.'
            )
        if marks.size(2) != self.encoder_embedding.time.in_features:
            raise UsageError(
                f'the data set gives {marks.size(2)} features of a time (one '
                'less without day_of_year), and num_marks of the model must '
                f'be {marks.size(2)} too.'
            )
        # (N, stations, L, C)
        x = series.unflatten(2, (self.num_stations, -1)).transpose(1, 2)
        mean = x.mean(2, keepdim=True)
        std = (x.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
        x = (x - mean) / std * self.affine_weight + self.affine_bias
        seasonal, trend = (
            part.unflatten(0, x.shape[:2])[:, :, -self.label_len :]
            for part in self.decomposition(x.flatten(0, 1))
        )
        # for the future: no season yet, and the mean as the trend
        future = x.mean(2, keepdim=True).expand(-1, -1, self.pred_len, -1)
        trend = torch.cat([trend, future], 2)
        seasonal = torch.cat([seasonal, torch.zeros_like(future)], 2)

        context = self.encode(x, marks[:, :steps])
        past = self.decoder_embedding(
            seasonal, marks[:, steps - self.label_len :]
        )
        out, residual = self.decoder(past.flatten(0, 1), context)
        out = self.projection(self.norm(out)) + residual + trend.flatten(0, 1)
        out = out[:, -self.pred_len :].unflatten(0, x.shape[:2])
        out = (out - self.affine_bias) / (self.affine_weight + 1e-10)
        return (out * std + mean).transpose(1, 2).flatten(2)


def read_positions(
    positions: Optional[Union[str, Sequence]],
    num_stations: int,
    station_channels: int,
) -> Optional[Tensor]:
    """Standardise places: (stations * series of each, P) to (stations, ..)."""
    if positions is None:
        return None
    if isinstance(positions, str):
        positions = np.load(positions, allow_pickle=False).astype('float64')
    places = torch.as_tensor(positions, dtype=torch.float64)
    if places.size(0) != num_stations * station_channels:
        raise ValueError(
            'positions must have a row for each of '
            f'{num_stations * station_channels} series, got {places.size(0)}.'
        )
    places = places - places.mean(0)
    places = places / places.std(0, unbiased=False).clamp(min=1e-12)
    return places.reshape(num_stations, -1).float()


@MODELS.register_module()
class DLinear(Forecaster):
    """Two linear layers over time: one for the trend, one for the rest.

    Paper: `Are Transformers Effective for Time Series Forecasting?
    <https://arxiv.org/abs/2205.13504>`_ (AAAI 2023). All series share the
    layers, and the mean of the input steps is subtracted before and added
    after them, as :class:`UniRepLKNetForecaster` does.

    Args:
        input_len (int): Number of input steps. Defaults to 48.
        pred_len (int): Number of forecast steps. Defaults to 24.
        window (int): Steps of the moving average. Defaults to 25.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        input_len: int = 48,
        pred_len: int = 24,
        window: int = 25,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.decomposition = SeriesDecomposition(window)
        self.seasonal = nn.Linear(input_len, pred_len)
        self.trend = nn.Linear(input_len, pred_len)
        for layer in (self.seasonal, self.trend):
            nn.init.constant_(layer.weight, 1 / input_len)

    def forecast(self, series: Tensor, marks: Tensor) -> Tensor:
        """Map (N, L, S) to (N, pred_len, S); the marks are not used."""
        mean = series.mean(1, keepdim=True)
        std = (series.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        seasonal, trend = (
            part.transpose(1, 2)
            for part in self.decomposition((series - mean) / std)
        )
        out = self.seasonal(seasonal) + self.trend(trend)
        return out.transpose(1, 2) * std + mean
