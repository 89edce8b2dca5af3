"""tools/dist_train.sh and dist_test.sh with two processes on the CPU."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import CONFIG, ROOT, SMALL, free_port
from .test_resume import assert_same, losses, state_of

CPU = {'CUDA_VISIBLE_DEVICES': '-1'}


def test_training_is_that_of_the_joined_batch(train, train_two, tmp_path):
    """Weights, momentum and the statistics of SyncBN after three steps."""
    options = {
        'model.backbone.drop_path_rate': 0.0,
        'model.decode_head.dropout_ratio': 0.0,
        'model.auxiliary_head.dropout_ratio': 0.0,
        'optim_wrapper.optimizer.lr': 0.1,
        # else Adam's first steps are signs, which rounding turns over
        'optim_wrapper.optimizer.eps': 0.1,
        'train_cfg.max_iters': 3,
        'default_hooks.checkpoint.interval': 3,
    }
    pair = train_two(
        work_dir='two', env=CPU,
        options={**options, 'train_dataloader.batch_size': 1},
    )  # fmt: skip
    joined = train(work_dir='joined', options=options)
    for run in (*pair, joined):
        assert run.wait() == 0, run.log[-3000:]
        assert 'gloo' not in run.log.rpartition('threads at the end')[2]
    two, one = (
        state_of(tmp_path / name / 'iter_3.pth') for name in ('two', 'joined')
    )
    assert any(key.endswith('running_var') for key in one['state_dict'])
    assert_same(two, one, rtol=1e-3, atol=3e-4)


def start(script, *args, env=None, options):
    return subprocess.Popen(
        ['bash', ROOT / f'tools/{script}.sh', CONFIG, *map(str, args),
         '--cfg-options', *(f'{k}={v}' for k, v in options.items())],
        env={**os.environ, **CPU, 'PYTHON': sys.executable,
             'PORT': str(free_port()), 'OMP_NUM_THREADS': '1',
             'PYTHONFAULTHANDLER': '1', **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def children(pid):
    found = map(
        int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    )
    return [each for child in found for each in (child, *children(child))]


def end_of(process):
    try:
        log = process.communicate(timeout=300)[0]
    except subprocess.TimeoutExpired:
        for pid in (*children(process.pid), process.pid):
            os.kill(pid, signal.SIGABRT)  # each says where it was
        pytest.fail(
            f'no end after 300 s:\n{process.communicate()[0][-20000:]}'
        )
    assert process.returncode == 0, log[-3000:]
    return log


@pytest.mark.slow
def test_torchrun(run_tool, monkeypatch, shapes_root, tmp_path):
    """dist_train.sh and dist_test.sh: the loss falls, metrics are the same."""
    options = {
        **SMALL, 'train_cfg.max_iters': 40, 'param_scheduler.1.end': 40,
        'optim_wrapper.optimizer.lr': 5e-3,
        'default_hooks.checkpoint.interval': 40,
    }  # fmt: skip
    common = ['--data-root', shapes_root, '--work-dir', tmp_path]
    log = end_of(start('dist_train', 2, *common, options=options))
    assert 'total batch size 4 (2 x 2)' in log
    assert log.count('Saving checkpoint at 40 iterations') == 1
    assert len(list(tmp_path.glob('2*/*.log'))) == 1, 'rank 0 alone writes'
    values = list(losses(tmp_path).values())
    assert np.mean(values[-8:]) < 0.8 * np.mean(values[:8])
    # five images for two processes: one of them has one twice
    options['test_dataloader.dataset.indices'] = 5
    metrics = []
    two, one = tmp_path / 'two', tmp_path / 'one'
    args = [tmp_path / 'iter_40.pth', *common[:2], '--work-dir']
    log = end_of(
        start('dist_test', args[0], 2, *args[1:], two, options=options)
    )
    assert 'Iter(test) [3/3]' in log
    words = (f'{key}={value}' for key, value in options.items())
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    done = run_tool(
        ROOT / 'tools/test.py', CONFIG, *args, one, '--cfg-options', *words
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for work_dir in (two, one):
        path = next(work_dir.glob('2*/2*.json'))
        metrics.append(json.loads(path.read_text()))
    for key in ('aAcc', 'mIoU', 'mAcc'):
        assert metrics[0][key] == metrics[1][key]


@pytest.mark.slow
def test_two_nodes(shapes_root, tmp_path):
    """Two agents that meet by NNODES, NODE_RANK, MASTER_ADDR and PORT."""
    env = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=str(free_port()))
    nodes = [
        start(
            'dist_train', 1, '--data-root', shapes_root, '--work-dir',
            tmp_path, env={**env, 'NODE_RANK': str(rank)},
            options={**SMALL, 'train_cfg.max_iters': 2},
        )
        for rank in range(2)
    ]  # fmt: skip
    logs = [end_of(node) for node in nodes]
    assert 'total batch size 4 (2 x 2)' in logs[0]
    assert 'Iter(train) [2/2]' in logs[0]
    assert 'Iter(train)' not in logs[1]
    assert (tmp_path / 'iter_2.pth').is_file()
