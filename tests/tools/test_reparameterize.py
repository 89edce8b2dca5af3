"""tools/reparameterize.py as a user runs it."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/reparameterize.py'
TEST = ROOT / 'tools/test.py'
TRAIN = ROOT / 'tools/train.py'


def error_of(done):
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    return next(x for x in done.stderr.splitlines() if 'error: ' in x)


@pytest.fixture(scope='module')
def merged(run_tool, small_segmentor, tmp_path_factory):
    out = tmp_path_factory.mktemp('merged') / 'm.pth'
    done = run_tool(TOOL, *small_segmentor, out, fresh=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_report(merged, shapes_root):
    out, log = merged
    assert 'random 192x256: 6 outputs differ by at most' in log
    assert f'real ({shapes_root}' in log
    assert '-> 0, parameters' in log
    assert str(out) in log and str(out.with_suffix('.py')) in log


@pytest.mark.slow
def test_metric_is_the_same(run_tool, merged, small_segmentor, tmp_path):
    metrics = []
    for i, (config, checkpoint) in enumerate(
        [small_segmentor, (merged[0].with_suffix('.py'), merged[0])]
    ):
        done = run_tool(
            TEST, config, checkpoint, '--work-dir', tmp_path / str(i)
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log[-3000:]
        assert 'does not fit' not in log
        found = next((tmp_path / str(i)).glob('2*/2*.json'))
        metrics.append(json.loads(found.read_text())['mIoU'])
    assert metrics[0] == pytest.approx(metrics[1], abs=0.02)
    assert metrics[0] > 0


@pytest.mark.slow
def test_refusals(run_tool, merged, small_segmentor, tmp_path):
    config, _ = small_segmentor
    out = tmp_path / 'again.pth'
    assert 'already merged' in error_of(run_tool(TOOL, config, merged[0], out))
    done = run_tool(TOOL, *small_segmentor, out, '--data-root', '/nowhere')
    assert '--image' in error_of(done)
    done = run_tool(TOOL, *small_segmentor, out, '--tolerance', '1e-12')
    assert 'more than the tolerance' in error_of(done)
    # with the trained config, a test says which one is needed
    done = run_tool(TEST, config, merged[0], '--work-dir', tmp_path / 'work')
    assert 'the config that was written with it' in error_of(done)
    assert not out.exists()
    # a training would start from random merged kernels
    work = tmp_path / 'work'
    done = run_tool(TRAIN, merged[0].with_suffix('.py'), '--work-dir', work)
    assert 'must be in training form' in error_of(done)
    assert not list(work.glob('*.pth'))
