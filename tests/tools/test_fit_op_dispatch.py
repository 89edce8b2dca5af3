"""fit_op_dispatch.py: what it measures, and the table it writes."""

import json
import random
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmrep.ops import choice
from mmrep.ops.backends import BACKENDS, base, coefficients
from mmrep.ops.problem import Problem

TOOL = Path(__file__).parents[2] / 'tools/benchmarks/fit_op_dispatch.py'


@pytest.fixture
def tool():
    # the functions' own globals, so that a test can replace them
    return runpy.run_path(str(TOOL))['main'].__globals__


def run(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['fit_op_dispatch.py', *map(str, args)])
    tool['main']()


def measured(path, dtype, shapes=20, **facts):
    """A file of forwards by Triton on CUDA, each of 10 milliseconds."""
    records = [
        [(1, 8 * i, 32, 32), (13, 13), False, 'forward', {'triton': 10.0}]
        for i in range(1, shapes)
    ]
    data = {
        'device': 'cuda',
        'dtype': dtype,
        'instructions': 'AVX2',
        'records': records,
        **facts,
    }
    path.write_text(json.dumps(data))
    return str(path)


def test_fit_keeps_what_was_not_measured(tool, tmp_path, monkeypatch):
    table = tmp_path / 'coefficients.py'
    known = {'cpu AVX2': {'a': [1.0]}, 'cuda': {'b': [2.0]}}
    monkeypatch.setattr(base, 'COEFFICIENTS', known)
    path = measured(tmp_path / 'bf16.json', 'bfloat16')
    run(tool, monkeypatch, 'fit', path, '--out', table)
    written = runpy.run_path(str(table))['COEFFICIENTS']
    assert sum(written['cuda'].pop('bfloat16/forward/triton')) > 0
    assert written == known


def test_the_table_is_what_the_tool_writes(tool, tmp_path):
    table = tmp_path / 'coefficients.py'
    tool['write_table'](tool['with_the_rest']({}), table)
    assert table.read_text() == Path(coefficients.__file__).read_text()


def test_a_fitted_gpu_takes_the_place_of_the_rule(tool, tmp_path, monkeypatch):
    """The kernels take 10 milliseconds of nn.Conv2d's 1."""
    one = Problem('cuda', torch.float16, (1, 64, 32, 32), (13, 13), False)
    for backend in BACKENDS.values():
        monkeypatch.setattr(backend, 'why_not', lambda *_: None)
    choice.forget()
    assert choice.choose(one).forward == 'triton'
    path = tmp_path / 'fp16.json'
    measured(path, 'float16')
    data = json.loads(path.read_text())
    for record in data['records']:
        record[-1]['direct_nchw'] = 1.0
    path.write_text(json.dumps(data))
    monkeypatch.setattr(base, 'COEFFICIENTS', tool['fit']([path]))
    choice.forget()
    assert choice.choose(one).plain
    choice.forget()


@pytest.mark.parametrize('allowed', (True, False))
def test_float32_on_cuda_is_named_by_its_arithmetic(
    tool, tmp_path, monkeypatch, allowed
):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', allowed)
    shape = tool['random_problem'](
        random.Random(0), 'cuda', torch.float32, 17e6
    )
    assert shape.tf32 is allowed
    path = measured(tmp_path / 'fp32.json', 'float32', tf32=allowed)
    table = tool['fit']([path])
    assert list(table['cuda']) == [
        f'{"float32" if allowed else "ieee"}/forward/triton'
    ]
    monkeypatch.setattr(base, 'COEFFICIENTS', table)
    one = Problem(
        'cuda', torch.float32, (1, 64, 32, 32), (13, 13), False, tf32=allowed
    )
    ms = BACKENDS['triton'].cost(one, 'forward', 'triton')
    assert ms == pytest.approx(10, 0.1)


def test_what_was_measured_before_an_error_is_kept(
    tool, tmp_path, monkeypatch, capsys
):
    """No memory for a shape; then the time limit's Ctrl-C."""
    calls = []

    def measure(problem, direction, names, seconds, tune):
        calls.append(tune)
        if len(calls) == 2:
            raise torch.OutOfMemoryError('no memory')
        if len(calls) == 4:
            raise KeyboardInterrupt
        return dict.fromkeys(names, 1.0)

    monkeypatch.setattr(tool['measuring'], 'measure', measure)
    out = tmp_path / 'a.json'
    run(tool, monkeypatch, 'measure', '--out', out)
    assert len(json.loads(out.read_text())['records']) == 2
    # the kernels are those that 'auto' runs
    assert calls == 4 * [False]
    assert 'OutOfMemoryError: no memory' in capsys.readouterr().out


def test_measurements_reach_a_new_folder(tool, tmp_path, monkeypatch):
    out = tmp_path / 'new/folder/fp32.json'
    monkeypatch.setitem(tool, 'measure', lambda args: ['a record'])
    run(tool, monkeypatch, 'measure', '--out', out)
    assert json.loads(out.read_text())['records'] == ['a record']
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    'args, reason',
    (
        (('measure', '--dtype', 'foo', '--out', 'x.json'), "'foo'"),
        (('measure', '--device', 'cuda', '--out', 'x.json'), 'no CUDA'),
        (('measure', '--out', 'file/x.json'), 'x.json cannot be written'),
        (('measure', '--elements', '1e6', '--out', 'x.json'), 'at least'),
        (('fit', 'missing.json'), 'missing.json'),
        (('fit', 'file'), 'a file cannot be read'),
    ),
    ids=str,
)
def test_one_line_says_what_is_wrong(
    tool, tmp_path, monkeypatch, capsys, args, reason
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setitem(tool, 'measure', lambda args: [])
    (tmp_path / 'file').write_text('not JSON')
    with pytest.raises(SystemExit) as end:
        run(tool, monkeypatch, *args)
    by_argparse = end.value.code == 2
    said = capsys.readouterr().err if by_argparse else end.value.code
    assert 'error: ' in said and reason in said.splitlines()[-1]
