"""The benchmark's sections run, on shapes small enough for any machine."""

import argparse
import runpy
import time
from pathlib import Path

import pytest
import torch

from mmrep.ops.backends import triton

TOOL = Path(__file__).parents[2] / 'tools/benchmark_op.py'
REASON = triton.why_not('cpu', torch.float32)


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


@pytest.fixture
def clock(tool):
    return tool['Clock']('cpu', 0.001, 3)


ARGS = argparse.Namespace(end=time.perf_counter() + 1e6)


def test_one_shape_by_every_method(tool, clock):
    rows = tool['time_problem']((1, 3, 9, 9), (5, 5), torch.float32, clock)
    assert {'conv', 'conv channels_last', 'auto', 'fft'} <= set(rows)
    assert all(r['forward'] > 0 and r['both'] > 0 for r in rows.values())
    row = {'shape': (1, 3, 9, 9), 'kernel': 5, 'times': rows}
    summary = tool['summarise']([row])
    assert summary['forward']['shapes'] == 1


@pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')
def test_sections_of_a_gpu(tool, clock):
    result = tool['run_typed'](clock, ARGS, [(1, 2, 9, 9, 5)])
    assert len(result) == 4
    assert result[0]['triton']['useful TFLOP/s'] > 0
    names = tool['run_tuned'].__globals__
    names['TUNED'] = [(1, 1, 17, 17, 7)]
    (row,) = tool['run_tuned'](clock, ARGS)
    assert row['forward']['ms'] <= row['forward']['default ms']
    errors = tool['check_one'](
        (1, 2, 9, 9), (5, 5), torch.float32, 'triton', 'cpu'
    )
    assert max(errors) < 1e-5
