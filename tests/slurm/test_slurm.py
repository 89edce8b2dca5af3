"""tools/slurm_train.sh and slurm_test.sh through a real srun.

They run as root where Debian's packages slurm-wlm and munge are installed;
docs/reliability.md says more.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name('one_node_slurm.sh')
CONFIG = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
OPTIONS = [
    'model.backbone.arch.depths=[1,1,1,1]',
    'model.backbone.arch.kernel_sizes=[7,7,5,5]',
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=2',
]
MISSING = [
    name
    for name in ('slurmctld', 'slurmd', 'srun', 'munged')
    if shutil.which(name) is None
]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f'Slurm is not installed ({", ".join(MISSING)} missing): '
        'apt-get install slurm-wlm munge',
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason='Slurm is started as root'),
]


def two_free_ports():
    """A port whose neighbour is free too, for the two daemons."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(('127.0.0.1', 0))
            port = first.getsockname()[1]
            try:
                second.bind(('127.0.0.1', port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """Run commands where srun, sbatch and so on find a Slurm."""
    folder = tmp_path_factory.mktemp('slurm')
    port = str(two_free_ports())
    # into a file, because the daemons would keep a pipe open
    with (folder / 'start.log').open('w') as log:
        started = subprocess.run(
            [SCRIPT, 'start', folder, port], stdout=log, stderr=log
        )
    assert started.returncode == 0, (folder / 'start.log').read_text()

    def run(*command):
        done = subprocess.run(
            list(map(str, command)),
            env={
                **os.environ,
                'SLURM_CONF': str(folder / 'slurm.conf'),
                'PYTHON': sys.executable,
                'CUDA_VISIBLE_DEVICES': '-1',
                'GPUS': '2',
                'GPUS_PER_NODE': '0',
                'CPUS_PER_TASK': '1',
                'OMP_NUM_THREADS': '1',
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    yield run
    subprocess.run([SCRIPT, 'stop', folder], check=True)
    for name in ('slurmctld', 'slurmd', 'munged'):
        assert not (folder / f'{name}.pid').exists(), f'{name} still runs'


def test_train_and_test(slurm, shapes_root, tmp_path):
    """Two tasks of srun train to the end, and test what they have trained."""
    common = ['--data-root', shapes_root, '--work-dir', tmp_path]
    code, log = slurm(
        ROOT / 'tools/slurm_train.sh', 'cpu', 'train', CONFIG, *common,
        '--cfg-options', *OPTIONS, 'train_cfg.max_iters=2',
    )  # fmt: skip
    assert code == 0, log[-3000:]
    assert 'total batch size 4 (2 x 2)' in log
    assert log.count('Iter(train) [2/2]') == 1
    metrics = [log[log.rindex('aAcc') :].split('data_time')[0]]
    code, log = slurm(
        ROOT / 'tools/slurm_test.sh', 'cpu', 'test', CONFIG,
        tmp_path / 'iter_2.pth', *common, '--cfg-options', *OPTIONS,
    )  # fmt: skip
    assert code == 0, log[-3000:]
    assert 'Iter(test) [3/3]' in log, 'each process tests half'
    metrics.append(log[log.rindex('aAcc') :].split('data_time')[0])
    assert 'mIoU' in metrics[0] and metrics[0] == metrics[1]


def wait_for(path, text, seconds=240):
    end = time.monotonic() + seconds
    while not path.exists() or text not in path.read_text():
        log = path.read_text() if path.exists() else ''
        assert time.monotonic() < end, f'{text!r} did not come: {log[-3000:]}'
        time.sleep(0.1)


def ranks_of(work_dir):
    """Processes of srun's tasks, by their command line."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().decode().split('\0')
        except OSError:
            continue
        if str(work_dir) in words and 'python' in Path(words[0]).name:
            found.append(int(path.parent.name))
    return found


def test_killed_job_resumes(slurm, shapes_root, tmp_path):
    """The script of docs/reliability.md: a rank is killed with kill -9."""
    log, script = tmp_path / 'log', tmp_path / 'job.sh'
    work_dir = tmp_path / 'work'
    script.write_text(
        f"""#!/bin/bash
#SBATCH --requeue --open-mode=append --signal=TERM@120 --ntasks=2
#SBATCH --output={log}
{ROOT}/tools/slurm_train.sh cpu train {CONFIG} --data-root {shapes_root} \\
    --work-dir {work_dir} --cfg-options {' '.join(OPTIONS)} \\
    train_cfg.max_iters=8 train_cfg.val_interval=100
[ $? -le 128 ] || scontrol requeue "$SLURM_JOB_ID"
"""
    )
    code, text = slurm('sbatch', '-p', 'cpu', script)
    assert code == 0, text
    wait_for(log, 'Iter(train) [3/8]')
    os.kill(ranks_of(work_dir)[-1], signal.SIGKILL)
    wait_for(work_dir / 'last_checkpoint', 'iter_8.pth')
    text = log.read_text()
    assert 'resumed epoch: 0, iter: ' in text
    assert text.count('Iter(train) [1/8]') == 1
