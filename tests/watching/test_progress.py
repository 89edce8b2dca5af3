"""The progress bar of trainings and tests, and other loggers."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from rich.console import Console

from mmrep.errors import UsageError
from mmrep.watching import ProgressHook, log_to

ROOT = Path(__file__).parents[2]


def test_score_and_counts():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=150)
    hook = ProgressHook(console)
    loader = [None] * 3
    loop = SimpleNamespace(max_iters=40)
    runner = SimpleNamespace(train_loop=loop, iter=10, val_dataloader=loader)
    with hook.progress:
        hook.before_train(runner)
        hook.after_train_iter(runner, 0)
        for score in (50.0, 40.0):
            hook.before_val_epoch(runner)
            hook.after_val_iter(runner, 1)
            hook.progress.refresh()
            hook.after_val_epoch(runner, dict(aAcc=80.0, mIoU=score, time=1))
        hook.progress.refresh()
    assert '11/40' in text.getvalue() and '2/3' in text.getvalue()
    assert 'mIoU 50 (best 50)' in text.getvalue()
    assert 'mIoU 40 (best 50)' in text.getvalue()


def _at_terminal(argv):
    """Run with standard error at a terminal; what each stream had."""
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, 'COLUMNS': '150', 'TERM': 'xterm'},
    ) as process:
        os.close(terminal)
        shown = b''
        # nothing is left to read, or the terminal is gone
        while part := _read(main):
            shown += part
        log = process.stdout.read().decode()
    os.close(main)
    assert process.returncode == 0, shown.decode()
    return log, re.sub(r'\x1b\[[\d;?]*\w', '', shown.decode())


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b''


@pytest.mark.slow
def test_bar_at_a_terminal_alone(small_segmentor, shapes_root, tmp_path):
    command = [ROOT / 'tools/test.py', *small_segmentor]
    command += ['--work-dir', tmp_path, '--data-root', shapes_root]
    log, shown = _at_terminal(command)
    assert re.search(r'testing .* 6/6 ', shown)
    assert 'mIoU' in log and 'testing ' not in log
    (file,) = tmp_path.glob('*/*.log')
    assert 'testing ' not in file.read_text()
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True
    )
    assert done.returncode == 0 and 'testing ' not in done.stderr


@pytest.mark.parametrize('name', ['tensorboard', 'wandb'])
def test_log_to(name, monkeypatch):
    cfg = Config(dict(work_dir='work_dirs/a', visualizer=dict(type='V')))
    monkeypatch.setattr('mmrep.watching.loggers.find_spec', lambda _: None)
    with pytest.raises(UsageError, match=f'pip install {name} .*loggers.txt'):
        log_to(cfg, name)
    monkeypatch.setattr('mmrep.watching.loggers.find_spec', lambda _: True)
    for _ in range(2):
        log_to(cfg, name)
    (backend,) = cfg.visualizer.vis_backends
    assert backend.type.lower() == f'mmengine.{name}visbackend'
    if name == 'wandb':
        assert backend.init_kwargs == dict(project='mmrep', name='a')
    with pytest.raises(UsageError, match='needs visualizer'):
        log_to(Config(dict(work_dir='a')), name)
    with pytest.raises(UsageError, match='one of tensorboard, wandb'):
        log_to(cfg, 'other')


def test_resumed_run_is_the_same_for_wandb(tmp_path, monkeypatch):
    monkeypatch.setattr('mmrep.watching.loggers.find_spec', lambda _: True)
    for name in ('1/vis_data/wandb/run-1-old', '2/vis_data/wandb/run-2-own'):
        (tmp_path / name).mkdir(parents=True)
    for resume, own in ((False, {}), (True, dict(id='own', resume='allow'))):
        visualizer = dict(type='V')
        cfg = Config(
            dict(work_dir=str(tmp_path), visualizer=visualizer, resume=resume)
        )
        log_to(cfg, 'wandb')
        (backend,) = cfg.visualizer.vis_backends
        assert backend.init_kwargs == dict(
            project='mmrep', name=tmp_path.name, **own
        )


@pytest.mark.slow
def test_tensorboard(run_tool, shapes_root, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    done = run_tool(
        ROOT / 'tools/train.py',
        ROOT / 'configs/upernet_replknet-tiny_shapes.py',
        '--data-root', shapes_root, '--work-dir', tmp_path,
        '--log-to', 'tensorboard', '--cfg-options', 'train_cfg.max_iters=2',
        'train_cfg.val_interval=2', 'default_hooks.logger.interval=1',
        'train_dataloader.batch_size=2',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = tmp_path.rglob('events.out.tfevents.*')
    events = EventAccumulator(str(file)).Reload()
    assert [e.step for e in events.Scalars('loss')] == [1, 2]
    assert [e.step for e in events.Scalars('mIoU')] == [2]
