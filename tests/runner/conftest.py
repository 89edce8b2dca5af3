"""Trainings in processes of their own, which tests can kill."""

import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import processes
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
SMALL = {
    'model.backbone.arch.depths': '[1,1,1,1]',
    'model.backbone.arch.kernel_sizes': '[7,7,5,5]',
    'model.backbone.arch.channels': '[8,8,8,8]',
    'model.backbone.drop_path_rate': 0.3,
    'model.decode_head.in_channels': '[8,8,8,8]',
    'model.decode_head.channels': 8,
    'model.auxiliary_head.in_channels': 8,
    'model.auxiliary_head.channels': 8,
    'train_dataloader.batch_size': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.checkpoint.max_keep_ckpts': 2,
    'train_cfg.max_iters': 6,
    'train_cfg.val_interval': 100,
    'param_scheduler.0.end': 3,
    'param_scheduler.1.begin': 3,
    'param_scheduler.1.end': 6,
}


def _run(prepare, argv):
    """Run a script; say which threads it leaves."""
    if prepare is not None:
        prepare()
    try:
        processes.run_script(argv)
    finally:
        # those of a process group may abort the process when Python ends
        names = {p.read_text() for p in Path('/proc/self/task').glob('*/comm')}
        sys.stdout.write(f'threads at the end: {sorted(names)}\n')


class Run:
    """A process and what it has written."""

    def __init__(self, argv, output, env=None, prepare=None):
        self.output = Path(output)
        self.process = processes.start(
            argv, output, output,
            env={**os.environ, **(env or {})}, run=partial(_run, prepare),
        )  # fmt: skip

    @property
    def log(self):
        return self.output.read_text() if self.output.exists() else ''

    def wait(self, timeout=300):
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail(f'no end after {timeout} s:\n{self.log[-3000:]}')
        return self.process.exitcode

    def wait_for(self, text, timeout=300):
        """Wait until the process has written something."""
        end = time.monotonic() + timeout
        while text not in self.log:
            if self.process.exitcode is not None or time.monotonic() > end:
                pytest.fail(f'{text!r} did not come:\n{self.log[-3000:]}')
            time.sleep(0.01)

    def send(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.send(signal.SIGKILL)
        self.process.join()

    @property
    def error(self):
        """The line that says what was wrong; there is no traceback."""
        assert 'Traceback' not in self.log, self.log[-3000:]
        lines = [x for x in self.log.splitlines() if x.startswith('error: ')]
        assert len(lines) == 1, self.log[-3000:]
        return lines[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What starts a training is slow."""
    for item in items:
        if item.path.parent == HERE and 'train' in item.fixturenames:
            item.add_marker('slow')


@pytest.fixture
def train(shapes_root, tmp_path):
    """Start a training; ``extra`` is text for the end of the config."""
    runs = []

    def start(*args, work_dir='work', config=CONFIG, options={}, extra='',
              env=None, prepare=None):  # fmt: skip
        options = {**(SMALL if config == CONFIG else {}), **options}
        output = tmp_path / f'{len(runs)}.log'
        if extra:
            base, config = config, tmp_path / f'config{len(runs)}.py'
            config.write_text(f"_base_ = '{base}'\n{extra}\n")
        argv = [
            ROOT / 'tools/train.py', config, '--data-root', shapes_root,
            '--work-dir', tmp_path / work_dir, *args, '--cfg-options',
            *(f'{key}={value}' for key, value in options.items()),
        ]  # fmt: skip
        runs.append(Run(argv, output, env, prepare))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.exitcode is None:
            run.kill()


@pytest.fixture
def train_two(train):
    """Start the same training in two processes that know each other."""

    def start(*args, **kwargs):
        env = dict(
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(free_port()),
            WORLD_SIZE='2',
            **kwargs.pop('env', {}),
        )
        return [
            train(
                '--launcher', 'pytorch', *args, **kwargs,
                env={**env, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            )
            for rank in range(2)
        ]  # fmt: skip

    return start


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]
