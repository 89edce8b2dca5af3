"""tools/fit_op_dispatch.py: what it measures, and the table it writes."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from mmrep.ops import cost

TOOL = Path(__file__).parents[2] / 'tools/fit_op_dispatch.py'


@pytest.fixture
def tool():
    # the functions' own globals, so that a test can replace them
    return runpy.run_path(str(TOOL))['main'].__globals__


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
    table = tmp_path / 'cost_table.py'
    monkeypatch.setitem(tool, 'TABLE', table)
    path = measured(tmp_path / 'bf16.json', 'bfloat16')
    monkeypatch.setattr(sys, 'argv', ['fit_op_dispatch.py', 'fit', path])
    tool['main']()
    written = runpy.run_path(str(table))['COEFFICIENTS']
    new = written['cuda'].pop('bfloat16/forward/triton')
    old = {name: dict(models) for name, models in cost.COEFFICIENTS.items()}
    assert new != old['cuda'].pop('bfloat16/forward/triton')
    assert written == old


def test_fit_assumes_what_the_table_does_not_have(tool, monkeypatch):
    monkeypatch.setattr(cost, 'COEFFICIENTS', {'cpu AVX2': {'a': [1.0]}})
    new = {'cuda': {'float32/fft': [2.0]}}
    assert tool['with_the_rest'](new) == {
        'cpu AVX2': {'a': [1.0]},
        'cuda': {**tool['ASSUMED'], 'float32/fft': [2.0]},
    }
