"""Forecasts: windows, correlations, models, and runs by the usual tools."""

import csv
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('pandas', reason='needs requirements/other_signals.txt')

from mmengine.config import Config

from mmrep.errors import UsageError
from mmrep.registry import MODELS
from projects.other_signals.export_onnx import export
from projects.other_signals.time_series import (
    DLinear,
    ForecastMetric,
    SeriesDataset,
)
from projects.other_signals.time_series.correlation import (
    AutoCorrelation,
    CrossCorrelation,
    SeriesDecomposition,
    circular_correlation,
    shift,
)

HERE = Path(__file__).parent
CONFIGS = HERE / 'configs'


def write_csv(path, hours=1000, skip=(), values=None):
    """Two daily waves and noise, hourly; ``skip`` are rows left out."""
    rng = np.random.default_rng(0)
    begin = datetime(2013, 1, 1)
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['time', 'temp_A', 'temp_B', 'temp_C', 'wind_A'])
        for t in range(hours):
            wave = 50 + 10 * np.sin(2 * np.pi * (t - np.arange(3)) / 24)
            row = [*(wave + rng.normal(0, 0.5, 3)).round(3), 5.0]
            for (hour, column), value in (values or {}).items():
                if hour == t:
                    row[column] = value
            if t not in skip:
                writer.writerow([begin + timedelta(hours=t), *row])
    return str(path)


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / 'series.csv')


# ------------------------------------------------------------------ windows


def test_windows_and_splits_in_the_order_of_time(table):
    splits = {
        split: SeriesDataset(table, split, columns='temp_*')
        for split in ('train', 'val', 'test')
    }
    sizes = {split: len(data.values) for split, data in splits.items()}
    assert sizes == dict(train=700, val=100, test=200)
    train = splits['train']
    assert train.metainfo['series'] == ('temp_A', 'temp_B', 'temp_C')
    assert len(train) == 700 - 72 + 1
    sample = train[5]
    assert sample['inputs']['series'].shape == (48, 3)
    assert sample['inputs']['marks'].shape == (72, 4)
    np.testing.assert_array_equal(
        sample['data_samples']['target'], train.values[53:77]
    )
    # 2013-01-01 05:00, a Tuesday
    np.testing.assert_allclose(
        sample['inputs']['marks'][0],
        [5 / 23 - 0.5, 1 / 6 - 0.5, -0.5, -0.5],
        atol=1e-6,
    )
    less = SeriesDataset(table, 'train', day_of_year=False)
    assert torch.equal(
        less[5]['inputs']['marks'], sample['inputs']['marks'][:, :3]
    )
    # the splits follow one another
    np.testing.assert_array_equal(
        np.concatenate([d.values for d in splits.values()]),
        SeriesDataset(
            table, 'train', columns='temp_*', ratios=(1, 0, 0)
        ).values,
    )


def test_gaps_and_impossible_values(tmp_path):
    path = write_csv(
        tmp_path / 'a.csv',
        skip=(100, 101, *range(200, 210)),
        values={(150, 1): 1048, (160, 2): ''},
    )
    data = SeriesDataset(
        path, 'train', columns='temp_*', limits=(0, 100), ratios=(1, 0, 0)
    )
    assert not data.measured[[100, 101]].any()
    assert data.measured[150].tolist() == [True, False, True]
    assert data.measured[160].tolist() == [True, True, False]
    # short gaps lie on a line, long ones are in no window
    values = data.values
    np.testing.assert_allclose(
        values[100], values[99] + (values[102] - values[99]) / 3, rtol=1e-5
    )
    assert abs(values[150, 1] - values[149:152:2, 1].mean()) < 1e-4
    assert np.isnan(values[200:210]).all()
    spans = {t for s in data.starts for t in range(s, s + 72)}
    assert not spans & set(range(200, 210)) and {199, 210} <= spans
    sample = data[150 - 48]
    assert sample['data_samples']['valid'][0].tolist() == [True, False, True]


def test_arrays_as_published(tmp_path):
    values = np.arange(100 * 4, dtype=np.float32).reshape(100, 4, 1)
    times = np.datetime64('2019-01-01T00', 'h') + np.arange(100)
    for split in ('train', 'val'):
        np.save(tmp_path / f'temp_{split}.npy', values)
        np.save(tmp_path / f'time_{split}.npy', times)
    data = SeriesDataset(
        str(tmp_path / 'temp_{split}.npy'),
        'val',
        str(tmp_path / 'time_{split}.npy'),
        unit=0.1,
    )
    assert len(data) == 100 - 72 + 1
    np.testing.assert_allclose(
        data[0]['inputs']['series'][1], [0.4, 0.5, 0.6, 0.7], rtol=1e-6
    )


def test_pickles_are_refused_and_converted(run_tool, tmp_path):
    src, out = tmp_path / 'src', tmp_path / 'out'
    src.mkdir()
    values = np.ones((80, 2, 1)).astype(object)
    times = np.array(
        [datetime(2019, 1, 1) + timedelta(hours=t) for t in range(80)]
    )
    np.save(src / 'temp_train.npy', values)
    np.save(src / 'data_time_train.npy', times)
    files = ('temp_{split}.npy', 'train', 'data_time_{split}.npy')
    with pytest.raises(UsageError, match='prepare_ncei.py'):
        SeriesDataset(str(src / files[0]), files[1], str(src / files[2]))
    done = run_tool(HERE / 'prepare_ncei.py', src, out)
    assert done.returncode == 2 and not out.exists()
    done = run_tool(HERE / 'prepare_ncei.py', src, out, '--trust-pickles')
    assert done.returncode == 0, done.stderr
    data = SeriesDataset(str(out / files[0]), files[1], str(out / files[2]))
    assert data.values.shape == (80, 2) and len(data) == 9


@pytest.mark.parametrize(
    'options, line',
    [
        (dict(data_file='none.csv'), 'there is no file of series at none.csv'),
        (dict(columns='rain_*'), "columns like 'rain_*', but has temp_A"),
        (dict(split='training'), "got 'training'"),
        (dict(step='min'), "got 'min'"),
        (dict(input_len=700), 'must hold 724 steps in a row'),
    ],
)
def test_wrong_options(table, options, line):
    with pytest.raises(UsageError, match=re.escape(line)):
        SeriesDataset(**dict(dict(data_file=table, split='train'), **options))


@pytest.mark.parametrize(
    'text, line',
    [
        ('', 'cannot read the series'),
        ('a,b\n1.5,2\nx,3\n', 'must hold times'),
        ('t,a\n2013-01-01,1\n2013-01-01,2\n', 'must have one row'),
        ('t,a\n', 'has no rows'),
        ('t,a\n0,1\n1,2\n', 'must hold times, .* has 0'),
        ('t,a\n2013-01-01 00:00,1\nsoon,2\n', "has 'soon'"),
        ('t,a\n01/02/2013,1\n31/01/2013,2\n', "has '31/01/2013'"),
        ('t,a\n2013-01-01,1\n2013-01-02,2,3\n', 'Expected 2 fields in line 3'),
        ('t,a,b\n2013-01-01,1,JFK\n', "but 'b' has none"),
        (
            't,a\n2013-01-01 00:00,1\n2013-01-01 00:30,2\n',
            'whole hours apart, but 2013-01-01 00:30:00 and 0 others',
        ),
    ],
)
def test_wrong_tables(tmp_path, text, line):
    path = tmp_path / 'wrong.csv'
    path.write_text(text)
    with pytest.raises(UsageError, match=line) as e:
        SeriesDataset(str(path), 'train')
    assert '\n' not in str(e.value)


def test_offsets_become_utc(tmp_path):
    path = tmp_path / 'offsets.csv'
    # the clocks change after the first hour
    path.write_text(
        't,a\n2013-03-10T01:00-05:00,1\n2013-03-10T03:00-04:00,2\n'
        '2013-03-10T04:00-04:00,x\n2013-03-10T05:00-04:00,inf\n'
        '2013-03-10T06:00-04:00,1e39\n2013-03-10T07:00-04:00,6\n'
    )
    data = SeriesDataset(
        str(path), 'train', ratios=(1, 0, 0), input_len=4, pred_len=2
    )
    hours = (data.marks[:, 0] + 0.5) * 23
    np.testing.assert_allclose(hours, np.arange(6, 12), atol=1e-5)
    # what is not a number, or none that fits, is a gap
    np.testing.assert_allclose(data.values[:, 0], [1, 2, 3, 4, 5, 6])
    assert data.measured[:, 0].tolist() == [1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    'name, change, line',
    [
        ('values', lambda x: x[:70], r'for the T times .* \(70, 2, 1\)'),
        ('values', lambda x: x.astype(str), 'must hold numbers'),
        ('times', lambda x: x[::-1], 'must hold rising times'),
        ('times', lambda x: x.astype(str), 'must hold rising times'),
    ],
)
def test_wrong_arrays(tmp_path, name, change, line):
    arrays = dict(
        values=np.zeros((80, 2, 1)),
        times=np.datetime64('2013-01-01T00') + np.arange(80),
    )
    arrays[name] = change(arrays[name])
    for key, array in arrays.items():
        np.save(tmp_path / f'{key}.npy', array)
    with pytest.raises(UsageError, match=line):
        SeriesDataset(
            'values.npy', 'train', 'times.npy', data_root=str(tmp_path)
        )


# ------------------------------------------------------------- correlations


def test_correlation_is_the_fourier_transform_s():
    query, key = torch.randn(2, 2, 3, 12, 5, dtype=torch.float64)
    spectrum = torch.fft.rfft(query, dim=-2)
    spectrum = spectrum * torch.fft.rfft(key, dim=-2).conj()
    expected = torch.fft.irfft(spectrum, 12, dim=-2).mean(-1)
    torch.testing.assert_close(circular_correlation(query, key), expected)


def test_shift_is_roll():
    x = torch.randn(2, 3, 7, 4)
    delay = torch.tensor([[0, 1, 2], [3, 6, -2]])
    out = shift(x, delay)
    for i in range(2):
        for j in range(3):
            expected = x[i, j].roll(int(delay[i, j]), 0)
            assert torch.equal(out[i, j], expected)


def test_decomposition():
    x = torch.randn(2, 30, 3)
    seasonal, trend = SeriesDecomposition(5)(x)
    padded = np.pad(x.numpy(), ((0, 0), (2, 2), (0, 0)), 'edge')
    expected = np.stack([padded[:, t : t + 5].mean(1) for t in range(30)], 1)
    np.testing.assert_allclose(trend, expected, atol=1e-6)
    torch.testing.assert_close(seasonal + trend, x)


def test_auto_correlation_looks_back_a_period():
    """With equal steps of one period all delays found are multiples of it."""
    layer = AutoCorrelation(8, 2).eval()
    for projection in (
        layer.query_projection, layer.key_projection,
        layer.value_projection, layer.out_projection,
    ):  # fmt: skip
        projection.weight.data = torch.eye(8)
        projection.bias.data.zero_()
    x = torch.randn(1, 6, 8).repeat(1, 4, 1)
    torch.testing.assert_close(layer(x, x), x)


def test_stations_are_aligned_before_they_are_mixed():
    layer = CrossCorrelation(8, 2, 64).double().eval()
    query, context = torch.randn(2, 2, 3, 64, 8, dtype=torch.float64)
    out = layer(query, context)
    # stations in another order: the same
    order = [2, 0, 1]
    torch.testing.assert_close(
        layer(query[:, order], context[:, order]), out[:, order]
    )
    # the groups of a batch do not see each other
    torch.testing.assert_close(out[1:], layer(query[1:], context[1:]))
    # what a station does later, its output does as much later
    alone = layer(query[:, :1], context[:, :1])
    later = layer(query[:, :1], context[:, :1].roll(5, 2))
    torch.testing.assert_close(later, alone.roll(5, 2))


# ------------------------------------------------------------------- models


@pytest.fixture
def forecaster():
    cfg = Config.fromfile(
        CONFIGS / 'corrformer_unireplknet-tiny_nyc-temp.py'
    ).model
    cfg.backbone.arch.update(channels=(8, 12, 16, 48), depths=(1, 1, 1, 1))
    cfg.backbone.arch.kernel_sizes = ((3,), (13,), (13,), (11,))
    cfg.update(channels=48, heads=4, ffn_channels=16)
    return MODELS.build(cfg)


def batch(windows=2, stations=3):
    return dict(
        series=50 + 10 * torch.randn(windows, 48, stations),
        marks=torch.rand(windows, 72, 3) - 0.5,
    )


def test_forecast_follows_the_unit(forecaster):
    """Celsius or Fahrenheit: the same forecast. Gradients reach all."""
    inputs = batch()
    forecaster.eval()
    out = forecaster(inputs)
    assert out.shape == (2, 24, 3)
    other = dict(inputs, series=inputs['series'] * 1.8 + 32)
    torch.testing.assert_close(
        forecaster(other), out * 1.8 + 32, rtol=1e-4, atol=1e-2
    )
    forecaster.train()
    target = dict(
        target=torch.randn(2, 24, 3), valid=torch.ones(2, 24, 3).bool()
    )
    loss = forecaster(inputs, target, mode='loss')['loss']
    loss.backward()
    silent = [n for n, p in forecaster.named_parameters() if p.grad is None]
    assert not silent


def test_map_is_the_published_one(forecaster):
    """A map holds a station's vectors one after the other, in row order."""
    seen = []
    forecaster.backbone.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    forecaster.encoder_embedding.register_forward_hook(
        lambda module, args, out: seen.append(out)
    )
    forecaster.eval()(batch())
    vectors, maps = seen
    assert maps.shape == (6, 1, 48, 48)
    torch.testing.assert_close(
        maps.flatten(1), vectors.flatten(0, 1).flatten(1)
    )


def test_missing_targets_are_not_trained_on(forecaster):
    forecaster.eval()
    inputs = batch()
    target, valid = torch.randn(2, 24, 3), torch.rand(2, 24, 3) > 0.3
    loss = forecaster(inputs, dict(target=target, valid=valid), mode='loss')
    error = (forecaster(inputs) - target)[valid].square().mean()
    torch.testing.assert_close(loss['loss'], error)


@pytest.mark.slow
def test_published_size():
    cfg = Config.fromfile(
        CONFIGS / 'corrformer_unireplknet-s_global-temp.py'
    ).model
    cfg.positions = np.random.default_rng(0).random((3850, 3)).tolist()
    model = MODELS.build(cfg)
    backbone = sum(p.numel() for p in model.backbone.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert (backbone, total) == (55_520_952, 131_979_993)
    assert model.side == 192


@pytest.mark.parametrize(
    'change, line',
    [
        (dict(channels=50), 'must be a square'),
        (dict(tree=(2, 2)), 'product of tree'),
        (dict(positions=[[0.0, 1.0]]), 'a row for each of 3'),
        (dict(heads=5), 'multiple of heads'),
    ],
)
def test_wrong_models(change, line):
    cfg = Config.fromfile(
        CONFIGS / 'corrformer_unireplknet-tiny_nyc-temp.py'
    ).model
    with pytest.raises(ValueError, match=line):
        MODELS.build(dict(cfg, **change))


@pytest.mark.parametrize(
    'change, line',
    [
        (dict(series=torch.ones(1, 24, 3)), 'input_len .* got 48 and 24'),
        (dict(series=torch.ones(1, 48, 4)), 'has 4 series; num_stations'),
        (dict(marks=torch.ones(1, 60, 3)), 'pred_len .* got 24 and 12'),
        (dict(marks=torch.ones(1, 72, 4)), 'num_marks of the model must be 4'),
    ],
)
def test_data_that_do_not_fit_the_model(forecaster, change, line):
    with pytest.raises(UsageError, match=line):
        forecaster(dict(batch(1), **change))


def test_deploy_form_and_onnx(forecaster, check_deploy_form, tmp_path):
    inputs = batch(1)
    check_deploy_form(forecaster, inputs, 1e-5, rtol=1e-4, atol=1e-2)
    assert not any(
        'norm' in n for n, _ in forecaster.backbone.stages.named_buffers()
    )
    with pytest.raises(UsageError, match='nothing was written'):
        export(forecaster, dict(inputs=inputs), tmp_path / 'other.onnx', 0)
    assert [p.name for p in tmp_path.iterdir()] == ['model.onnx']


# ---------------------------------------------------------- errors and runs


def test_metric():
    series = torch.arange(48.0)[:, None].expand(48, 2)
    target = torch.arange(48.0, 72)[:, None].expand(24, 2)
    valid = torch.ones(24, 2).bool()
    valid[0, 0] = False
    metric = ForecastMetric()
    metric.process(
        None,
        [dict(forecast=target + 3, target=target, valid=valid, series=series)],
    )
    metric.dataset_meta = {}
    errors = metric.evaluate(1)
    gone = target[valid] - 47
    assert errors['mse'] == pytest.approx(9)
    assert errors['mae'] == pytest.approx(3)
    assert errors['period_mae'] == pytest.approx(24)
    assert errors['last_mse'] == pytest.approx(float(gone.square().mean()))


def test_period_longer_than_the_input():
    x = torch.ones(24, 1)
    sample = dict(forecast=x, target=x, valid=x.bool(), series=x)
    with pytest.raises(UsageError, match='from 1 to the 24 input steps'):
        ForecastMetric(period=25).process(None, [sample])


def test_linear_model_is_linear_in_time():
    model = DLinear()
    first = model(batch(1))
    assert first.shape == (1, 24, 3)
    # the mean of a constant series is its forecast
    flat = dict(series=torch.full((1, 48, 2), 7.0), marks=None)
    torch.testing.assert_close(
        model(flat), torch.full((1, 24, 2), 7.0), atol=0.05, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['corrformer_unireplknet-tiny', 'dlinear'])
def test_train_and_test(train_and_test, table, name):
    options = [
        'train_dataloader.dataset.stride=16',
        'val_dataloader.dataset.input_len=48',
        'val_dataloader.dataset.ratios=[2,2,1]',
        'test_dataloader.dataset.ratios=[2,1,2]',
        *(
            f'{split}_dataloader.dataset.data_file={table}'
            for split in ('train', 'val', 'test')
        ),
    ]
    text = train_and_test(CONFIGS / f'{name}_nyc-temp.py', options)
    assert re.search(r'mse: [\d.]+ .*period_mse', text)
