"""The benchmark's sections run, on shapes small enough for any machine."""

import argparse
import random
import runpy
import time
from pathlib import Path

import pytest
import torch

from mmrep.ops import benchmark, timing
from mmrep.ops.backends import triton

TOOL = Path(__file__).parents[2] / 'tools/benchmarks/benchmark_op.py'
REASON = triton.why_not('cpu', torch.float32)


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


CLOCK = benchmark.Clock('cpu', 0.001, 3)
ARGS = argparse.Namespace(
    end=time.perf_counter() + 1e6,
    seed=0,
    elements=1e4,
    macs=1e6,
    types=['bfloat16', 'float16', 'float32'],
    save=lambda result: None,
    shapes={'tuned': [(1, 1, 17, 17, 7)]},
)


def test_one_shape_by_every_method(tool):
    rows = benchmark.time_problem((1, 3, 9, 9), (5, 5), torch.float32, CLOCK)
    assert {'conv', 'conv channels_last', 'auto', 'fft'} <= set(rows)
    assert all(r['forward'] > 0 and r['both'] > 0 for r in rows.values())
    row = {'shape': (1, 3, 9, 9), 'kernel': 5, 'times': rows}
    summary = tool['summarise']([row])
    assert summary['forward']['shapes'] == 1
    ratio = rows['auto']['both'] / rows['conv']['both']
    assert summary['both']['against nn.Conv2d']['worst'] == ratio


def test_a_method_that_failed_is_left_out(tool, monkeypatch):
    good = dict.fromkeys(
        ('conv', 'conv channels_last', 'auto', 'auto channels_last', 'fft'),
        {'forward': 1.0, 'both': 1.0},
    )
    slow = {**good, 'auto': {'forward': 2.0, 'both': 2.0}}
    for name in good:
        failed = {n: ms for n, ms in good.items() if n != name}
        rows = [{'times': failed}, {'times': good}]
        summary = tool['summarise'](rows)
        assert summary['both']['shapes'] == 1, name
        assert tool['summarise'](rows[:1]) == {}
        # on the first and on the second time
        for runs in ([failed], [slow, failed]):
            monkeypatch.setattr(
                benchmark,
                'time_problem',
                lambda *args, runs=runs, **kwargs: runs.pop(0),
            )
            times = benchmark.time_grid_shape((1, 3, 9, 9), 5, CLOCK)
            assert set(times) == set(failed)


def test_grid_without_time(tool, capsys):
    args = argparse.Namespace(**{**vars(ARGS), 'end': 0.0})
    assert tool['run_grid'](CLOCK, args) is None
    assert 'no time left' in capsys.readouterr().out


def test_slow_functions_run_less_often():
    calls = dict.fromkeys('abc', 0)

    def run(name, seconds):
        calls[name] += 1
        time.sleep(seconds)

    times = timing.time_in_turn(
        {
            'a': lambda: run('a', 0.001),
            'b': lambda: run('b', 0.03),
            'c': lambda: run('c', 0.1),
        },
        'cpu',
        0.1,
        limit=80,
    )
    # a has two runs, then 9 rounds of two each; b as many as fit in 0.1 s
    assert calls == {'a': 20, 'b': 5, 'c': 1}
    assert 1 <= times['a'] < 30 <= times['b'] < 100 <= times['c']


def test_a_slow_start_is_not_hopeless():
    durations = iter([0.2, 0.01])
    times = timing.time_in_turn(
        {
            'a': lambda: time.sleep(0.01),
            'b': lambda: time.sleep(next(durations, 0.01)),
        },
        'cpu',
        0.1,
        hopeless=4,
    )
    assert times['b'] < 40


def test_every_draw_of_the_grid_ends():
    rng = random.Random(0)
    shapes = [benchmark.draw_shape(rng, 17e6, 5e9) for _ in range(500)]
    # no batch and no number of channels makes this one small enough
    assert not any(size == 256 and k == 51 for _, _, size, k in shapes)
    assert all(n * c * (size * k) ** 2 <= 5e9 for n, c, size, k in shapes)


def test_a_shape_that_fails_costs_no_other(tool, capsys, monkeypatch):
    """Nor do types: each has its share of the time."""
    run = tool['run_typed']
    saved = []

    def time_problem(shape, *args, **kwargs):
        if shape[1] == 2:
            raise torch.OutOfMemoryError('no memory')
        times = {'forward': 1.0, 'both': 3.0}
        return {'conv': times, 'auto': times}

    monkeypatch.setitem(run.__globals__, 'time_problem', time_problem)
    args = argparse.Namespace(
        **{**vars(ARGS), 'save': lambda result: saved.append(len(result))}
    )
    shapes = [(1, 1, 5, 5, 3), (1, 2, 5, 5, 5), (1, 1, 5, 5, 7)]
    result = run(CLOCK, args, shapes)
    assert [row['kernel'] for row in result] == 4 * [7, 3]
    assert saved == [*range(1, 9)]
    assert capsys.readouterr().out.count('OutOfMemoryError: no memory') == 4
    with pytest.raises(RuntimeError, match='nothing was measured'):
        run(CLOCK, args, shapes[1:2])


@pytest.mark.slow
@pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')
def test_sections_of_a_gpu(tool, capsys):
    result = tool['run_typed'](CLOCK, ARGS, [(1, 1, 5, 5, 27)])
    assert len(result) == 4
    assert 'aten::convolution_backward' in str(result[0]['times'])
    some = argparse.Namespace(**{**vars(ARGS), 'types': ['float16']})
    (row,) = tool['run_typed'](CLOCK, some, [(1, 1, 5, 5, 3)])
    assert row['dtype'] == 'torch.float16'
    rates = result[0]['rates']['triton']
    assert rates['forward']['useful TFLOP/s'] > 0
    assert rates['both']['of the Toeplitz bound'] > 0
    printed = capsys.readouterr().out
    assert 'auto against nn.Conv2d' in printed
    assert 'share of the Toeplitz bound' in printed
    (row,) = tool['run_tuned'](CLOCK, ARGS)
    assert row['forward']['ms'] <= row['forward']['default ms']
    errors = benchmark.check_one(
        (1, 2, 9, 9), (5, 5), torch.float32, 'triton', 'cpu'
    )
    assert max(errors) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')
def test_what_does_not_compile_is_reported(tool, monkeypatch):
    job = [1, 1, 17, 17], 7, torch.bfloat16, True, True
    assert tool['compile_one'](job, 'cpu') == ''
    job = [1, 1, 17, 17], 7, torch.float32, True, False

    def fails(*args):
        raise RuntimeError('out of shared memory')

    monkeypatch.setattr(triton, 'grad_weight', fails)
    assert 'out of shared memory' in tool['compile_one'](job, 'cpu')


@pytest.mark.parametrize(
    'kernels, library',
    [
        (['void at::native::conv_depthwise2d_forward_kernel<0>'], 'ATen'),
        (['sm90_xmma_fprop_implicit_gemm_f32', 'elementwise'], 'cuDNN'),
        (
            ['conv_depthwise2d_forward_kernel', 'void cudnn::wgrad'],
            'ATen and cuDNN',
        ),
        (['forward_toeplitz', 'vectorized_elementwise_kernel'], ''),
    ],
)
def test_tables_say_whose_convolution_ran(tool, capsys, kernels, library):
    times = {'forward': 1, 'both': 2, 'kernels': dict.fromkeys(kernels, 1)}
    row = {'shape': (1, 3, 9, 9), 'kernel': 5, 'times': {'conv': times}}
    tool['show'](row)
    name = f'conv ({library})' if library else 'conv'
    assert f'K5: {name} 1.00/2.00' in capsys.readouterr().out
