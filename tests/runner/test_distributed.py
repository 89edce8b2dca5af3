import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from torch import nn

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.runner.distributed import init_distributed
from mmrep.runner.faults import Agreement


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_launcher_without_its_variables(launcher, monkeypatch):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=f'--launcher {launcher} needs'):
        init_distributed(Config(), launcher)


@pytest.mark.parametrize(
    'launcher, rank, size',
    [
        ('pytorch', 'RANK', 'WORLD_SIZE'),
        ('slurm', 'SLURM_PROCID', 'SLURM_STEP_NUM_TASKS'),
        ('mpi', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
    ],
)
def test_several_processes_without_launcher(launcher, rank, size, monkeypatch):
    """Each would train alone, into the same folder."""
    monkeypatch.setenv(rank, '1')
    monkeypatch.setenv(size, '1')
    init_distributed(Config(), 'none')
    monkeypatch.setenv(size, '2')
    with pytest.raises(UsageError, match=f'pass --launcher {launcher}'):
        init_distributed(Config(), 'none')


@pytest.mark.parametrize(
    'variables, text',
    [
        (dict(RANK='0', WORLD_SIZE='2'), 'MASTER_ADDR expected'),
        (dict(RANK='x', WORLD_SIZE='2', MASTER_ADDR='localhost'), "'x'"),
    ],
)
def test_variables_that_make_no_group(monkeypatch, variables, text):
    monkeypatch.setattr(os, 'environ', {**os.environ, **variables})
    if 'MASTER_ADDR' not in variables:
        os.environ.pop('MASTER_ADDR', None)
    with pytest.raises(UsageError, match='cannot join the other') as error:
        init_distributed(Config(), 'pytorch')
    assert text in str(error.value)


@pytest.fixture
def environment(monkeypatch):
    """The process's variables, and no group that is really opened."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
        os.environ.pop(name, None)
    monkeypatch.setattr(
        dist, 'init_process_group', lambda backend, timeout: None
    )
    monkeypatch.setattr(
        'mmrep.runner.distributed.init_dist', lambda launcher: None
    )
    return os.environ


@pytest.mark.parametrize('cuda', [False, True])
@pytest.mark.parametrize(
    'launcher, variables',
    [
        ('pytorch', ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')),
        ('slurm', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID')),
        (
            'mpi',
            (
                'OMPI_COMM_WORLD_RANK',
                'OMPI_COMM_WORLD_SIZE',
                'OMPI_COMM_WORLD_LOCAL_RANK',
            ),
        ),
    ],
)
def test_variables_of_each_launcher(
    environment, monkeypatch, launcher, variables, cuda
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    environment.update(zip(variables, ('3', '4', '1'), strict=True))
    environment['SLURM_NODELIST'] = 'node[7-8]'
    monkeypatch.setattr(
        subprocess,
        'run',
        lambda *args, **kwargs: subprocess.CompletedProcess(
            args, 0, 'node7\nnode8\n'
        ),
    )
    cfg = Config()
    init_distributed(cfg, launcher)
    assert cfg.launcher == launcher
    assert environment['RANK'] == '3'
    assert environment['WORLD_SIZE'] == '4'
    assert environment['LOCAL_RANK'] == '1'
    if launcher == 'mpi':
        assert environment['MASTER_ADDR'] == '127.0.0.1'
    if launcher == 'slurm' and not cuda:
        assert environment['MASTER_ADDR'] == 'node7'
    assert ('model_wrapper_cfg' in cfg) is not cuda


def test_wrapper_of_a_cpu_run_does_not_stay():
    cpu = dict(type='mmrep.CPUDistributedDataParallel')
    cfg = Config(dict(model_wrapper_cfg=cpu))
    init_distributed(cfg, 'none')
    assert 'model_wrapper_cfg' not in cfg
    cfg = Config(dict(model_wrapper_cfg=dict(type='Mine')))
    init_distributed(cfg, 'none')
    assert cfg.model_wrapper_cfg.type == 'Mine'


def test_slurm_without_scontrol(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    environment.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0')
    environment.update(SLURM_NODELIST='a', PATH='')
    with pytest.raises(UsageError, match='set MASTER_ADDR'):
        init_distributed(Config(), 'slurm')


def gloo_threads():
    names = [p.read_text() for p in Path('/proc/self/task').glob('*/comm')]
    return [name for name in names if 'gloo' in name]


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('fault', [False, True])
def test_scripts_leave_the_group(tmp_path, fault):
    """Or its threads may abort the process at its exit."""

    def main():
        dist.init_process_group(
            'gloo', f'file://{tmp_path}/store', rank=0, world_size=1
        )
        holder = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
        holder.itself = [holder, Agreement()]
        assert gloo_threads()
        if fault:
            raise UsageError('the model is still referred to here')

    with pytest.raises(SystemExit) if fault else nullcontext():
        run(main)
    assert not dist.is_initialized() and not gloo_threads()
