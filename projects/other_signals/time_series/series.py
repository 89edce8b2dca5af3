"""Series of many stations: windows for training, and errors of forecasts."""

import os.path as osp
import warnings
from fnmatch import fnmatch
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from mmengine.evaluator import BaseMetric
from torch.utils.data import Dataset

from mmrep.errors import UsageError, one_line
from mmrep.registry import DATASETS, METRICS

SPLITS = ('train', 'val', 'test')


def time_marks(
    times: pd.DatetimeIndex, step: str, day_of_year: bool = True
) -> np.ndarray:
    """Features of times, each from -0.5 to 0.5.

    Args:
        times (DatetimeIndex): T times.
        step (str): 'h' for the hour and the days of week, month and year,
            'D' for the days only.
        day_of_year (bool): Whether the last one is the day of the year.
            Defaults to True.

    Returns:
        ndarray: Shape (T, 2 to 4).
    """
    marks = [times.dayofweek / 6, (times.day - 1) / 30]
    if day_of_year:
        marks.append((times.dayofyear - 1) / 365)
    if step == 'h':
        marks.insert(0, times.hour / 23)
    return np.stack(marks, 1).astype(np.float32) - 0.5


def read_csv(
    path: str, columns: str, step: str
) -> Tuple[pd.DataFrame, Sequence[str]]:
    """Read the columns of a CSV file, one row for each step of time.

    The first column holds the times, which become UTC if they have offsets; a
    missing row is a gap, and so is a cell that is not a number.

    Raises:
        UsageError: If the file is not such a table.
    """
    try:
        table = pd.read_csv(path, index_col=0)
    except (OSError, ValueError) as e:
        raise UsageError(
            f'cannot read the series of {path}: {one_line(e)}.'
        ) from e
    cells = table.index
    with warnings.catch_warnings():  # that the format is not known
        warnings.simplefilter('ignore')
        times = pd.to_datetime(cells.astype(str), errors='coerce', utc=True)
    wrong = cells if cells.dtype.kind in 'iuf' else cells[times.isna()]
    if len(wrong) or not len(cells):
        found = repr(wrong[0]) if len(wrong) else 'no rows'
        raise UsageError(
            f'the first column of {path} must hold times, all in one form '
            f'such as 2013-01-31 06:00, but has {found}.'
        )
    table.index = times.tz_localize(None)
    names = [name for name in table if fnmatch(name, columns)]
    if not names:
        raise UsageError(
            f'{path} must have columns like {columns!r}, but has '
            f'{", ".join(map(str, table))}.'
        )
    table = table[names].apply(pd.to_numeric, errors='coerce')
    empty = [name for name in names if table[name].isna().all()]
    if empty:
        raise UsageError(
            f'each column of {path} must hold numbers, but {empty[0]!r} has '
            "none; set the data set's columns to a pattern of the others."
        )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise UsageError(
            f'each time of {path} must have one row; {twice[0]} has several.'
        )
    full = table.sort_index().asfreq(step)
    between = table.index.difference(full.index)
    if len(between):
        unit = dict(h='hours', D='days')[step]
        raise UsageError(
            f'the rows of {path} must be whole {unit} apart, but '
            f'{between[0]} and {len(between) - 1} others are not whole {unit} '
            f'after {full.index[0]}; set step, or resample the series.'
        )
    return full


def read_arrays(series_path: str, times_path: str) -> pd.DataFrame:
    """Read values (T, S, 1) and T times of the published data set.

    Raises:
        UsageError: If a file is missing, is a pickle, which could run code, or
            does not hold what it must.
    """
    arrays = []
    for path in (series_path, times_path):
        try:
            arrays.append(np.load(path, allow_pickle=False))
        except (EOFError, OSError, ValueError) as e:
            raise UsageError(
                f'cannot read {path}: {e}. If it holds Python objects, '
                'convert it with prepare_ncei.py.'
            ) from e
    values, times = arrays
    if values.dtype.kind not in 'fiu' or values.shape[:1] != times.shape:
        raise UsageError(
            f'{series_path} must hold numbers (T, S, 1) for the T times of '
            f'{times_path}, but holds {values.dtype} {values.shape} for '
            f'times {times.shape}.'
        )
    if times.dtype.kind != 'M' or not (np.diff(times).astype(int) > 0).all():
        raise UsageError(
            f'{times_path} must hold rising times, as prepare_ncei.py writes '
            f'them; it holds {times.dtype}.'
        )
    return pd.DataFrame(
        values.reshape(len(values), -1), index=pd.DatetimeIndex(times)
    )


def fill_gaps(
    table: pd.DataFrame,
    limits: Optional[Tuple[float, float]],
    max_gap: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """Interpolate short gaps.

    Args:
        table (DataFrame): Values (T, S), NaN where there are none.
        limits (tuple[float, float], optional): The smallest and the largest
            value that can be true; others count as gaps.
        max_gap (int): Longest gap, in steps, that is filled.

    Returns:
        tuple[ndarray, ndarray]: Values (T, S), NaN in long gaps, and whether
        each was measured.
    """
    # infinite and too large for the model's numbers
    table = table.where(table.abs() <= np.finfo(np.float32).max)
    if limits is not None:
        table = table.where((table >= limits[0]) & (table <= limits[1]))
    values = table.to_numpy(np.float64)
    measured = np.isfinite(values)
    filled = table.interpolate(limit_area='inside').to_numpy(copy=True)
    for s in range(values.shape[1]):
        edges = np.flatnonzero(np.diff(np.r_[1, measured[:, s], 1]))
        for begin, end in edges.reshape(-1, 2):
            if end - begin > max_gap:
                filled[begin:end, s] = np.nan
    return filled.astype(np.float32), measured


@DATASETS.register_module()
class SeriesDataset(Dataset):
    """Windows of several series at once, split by time.

    A gap of up to ``max_gap`` steps is interpolated, and its steps are not
    used as targets for training or scores; a window with a longer gap is
    skipped.

    Args:
        data_file (str): CSV file with the times in the first column, or a
            .npy file of values (T, S, 1) without gaps, with ``{split}`` in its
            name if each split has its own file.
        split (str): 'train', 'val' or 'test'.
        times_file (str, optional): The .npy file of times that belongs to a
            .npy ``data_file``. Defaults to None.
        columns (str): Pattern of the columns' names. Defaults to '*'.
        step (str): 'h' for hours, 'D' for days. Defaults to 'h'.
        ratios (Sequence[float]): Shares of the three splits, in temporal
            order; not used if the splits are files. Defaults to (0.7, 0.1,
            0.2).
        input_len (int): Number of input steps. Defaults to 48.
        pred_len (int): Number of forecast steps. Defaults to 24.
        limits (tuple[float, float], optional): Values outside these limits
            count as missing. Defaults to None.
        max_gap (int): Longest gap, in steps, that is filled. Defaults to 6.
        unit (float): Factor of each value. Defaults to 1.
        stride (int): Steps from one window to the next. Defaults to 1.
        day_of_year (bool): Whether the model sees the day of the year, which
            only helps if the training series cover it. Defaults to True.
        data_root (str): Folder of the files. Defaults to '', the current
            folder.
    """

    def __init__(
        self,
        data_file: str,
        split: str,
        times_file: Optional[str] = None,
        columns: str = '*',
        step: str = 'h',
        ratios: Sequence[float] = (0.7, 0.1, 0.2),
        input_len: int = 48,
        pred_len: int = 24,
        limits: Optional[Tuple[float, float]] = None,
        max_gap: int = 6,
        unit: float = 1,
        stride: int = 1,
        day_of_year: bool = True,
        data_root: str = '',
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f'split must be one of {SPLITS}, got {split!r}.')
        if step not in ('h', 'D'):
            raise UsageError(
                f"step must be 'h' (hours) or 'D' (days), got {step!r}."
            )
        path = osp.join(data_root, data_file.format(split=split))
        if not osp.exists(path):
            raise UsageError(f'there is no file of series at {path}.')
        if path.endswith('.npy'):
            if times_file is None:
                raise UsageError(f'{path} needs a times_file.')
            table = read_arrays(
                path, osp.join(data_root, times_file.format(split=split))
            )
        else:
            table = read_csv(path, columns, step)
        if '{split}' not in data_file:
            ends = np.cumsum(ratios) / sum(ratios) * len(table)
            begin, end = (
                np.r_[0, ends].round().astype(int)[SPLITS.index(split) :][:2]
            )
            table = table.iloc[begin:end]
        self.input_len = input_len
        self.pred_len = pred_len
        values, self.measured = fill_gaps(table, limits, max_gap)
        self.values = values * np.float32(unit)
        self.marks = time_marks(table.index, step, day_of_year)
        self.metainfo = dict(series=tuple(map(str, table.columns)))
        # windows without a long gap
        length = input_len + pred_len
        missing = np.isnan(self.values).any(1)
        before = np.r_[0, missing.cumsum()]
        starts = np.arange(0, len(missing) - length + 1, stride)
        self.starts = starts[before[starts + length] == before[starts]]
        if not len(self.starts):
            raise UsageError(
                f'the {split} split of {path} must hold {length} steps in a '
                f'row without a gap of more than {max_gap}; of its '
                f'{len(missing)} steps no {length} do.'
            )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict:
        """Inputs and targets of a window, in the form of the models."""
        begin = self.starts[index]
        now = begin + self.input_len
        end = now + self.pred_len
        return dict(
            inputs=dict(
                series=torch.from_numpy(self.values[begin:now]),
                marks=torch.from_numpy(self.marks[begin:end]),
            ),
            data_samples=dict(
                target=torch.from_numpy(self.values[now:end]),
                valid=torch.from_numpy(self.measured[now:end]),
            ),
        )


@METRICS.register_module()
class ForecastMetric(BaseMetric):
    """Mean squared and mean absolute error over all series and steps.

    It also reports the errors of two forecasts that need no model: ``last``,
    in which everything stays as it is, and ``period``, in which the last day
    (or week) repeats itself.

    Args:
        period (int): Steps of a day or week. Defaults to 24.
        collect_device (str): Where processes exchange results. Defaults to
            'cpu'.
    """

    def __init__(self, period: int = 24, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device)
        self.period = period

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the sums of each window's errors."""
        for sample in data_samples:
            target, valid = sample['target'], sample['valid']
            series = sample['series']
            if not 0 < self.period <= len(series):
                raise UsageError(
                    'the period of ForecastMetric must be from 1 to the '
                    f'{len(series)} input steps, got {self.period}.'
                )
            steps = torch.arange(len(target), device=series.device)
            period = series[len(series) - self.period + steps % self.period]
            forecasts = dict(
                model=sample['forecast'],
                last=series[-1:].expand_as(target),
                period=period,
            )
            sums = {}
            for name, forecast in forecasts.items():
                error = (forecast - target)[valid].double()
                sums[name] = (
                    float(error.square().sum()),
                    float(error.abs().sum()),
                )
            self.results.append((int(valid.sum()), sums))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Errors of the model, then of the other two forecasts."""
        count = sum(n for n, _ in results)
        metrics = {}
        for name in ('model', 'last', 'period'):
            prefix = '' if name == 'model' else f'{name}_'
            for i, error in enumerate(('mse', 'mae')):
                total = sum(sums[name][i] for _, sums in results)
                metrics[prefix + error] = total / max(count, 1)
        return metrics
