"""Forecasts of many stations at once, by UniRepLKNet."""

from .forecaster import DLinear, UniRepLKNetForecaster
from .series import ForecastMetric, SeriesDataset

__all__ = [
    'DLinear',
    'ForecastMetric',
    'SeriesDataset',
    'UniRepLKNetForecaster',
]
