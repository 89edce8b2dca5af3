"""Several processes on machines without GPUs.

MMEngine sets a CUDA device for every process, and torch's SyncBatchNorm takes
only CUDA tensors; this module does the same over gloo.
"""

import os
import subprocess
from datetime import timedelta
from typing import Any, Callable, List, TypeVar

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import (
    broadcast_object_list,
    init_dist,
    is_main_process,
)
from mmengine.model import MMDistributedDataParallel
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn

from mmrep.errors import UsageError, one_line
from mmrep.models.layers.norms import CPUSyncBatchNorm
from mmrep.registry import MODEL_WRAPPERS

T = TypeVar('T')

# Variables in which each launcher gives rank, number of processes and rank on
# the node.
_RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
# Variables that give the number of started processes; SLURM_NTASKS is also set
# in a job whose script runs in one.
_SIZES = {
    'pytorch': 'WORLD_SIZE',
    'slurm': 'SLURM_STEP_NUM_TASKS',
    'mpi': 'OMPI_COMM_WORLD_SIZE',
}
_CPU_WRAPPER = 'mmrep.CPUDistributedDataParallel'
_COMMANDS = {
    'pytorch': 'tools/dist_train.sh or torchrun',
    'slurm': 'tools/slurm_train.sh or srun',
    'mpi': 'mpirun',
}


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's DDP for a model that stays on the CPU."""

    def __init__(self, module: nn.Module, **kwargs) -> None:
        kwargs['device_ids'] = None
        super().__init__(CPUSyncBatchNorm.convert(module), **kwargs)


def init_distributed(cfg: Config, launcher: str) -> None:
    """Join the other processes if ``launcher`` is not 'none'.

    With GPUs this checks the launcher's variables and does what MMEngine's
    runner would do later; without GPUs, it opens a gloo group and makes
    ``cfg`` wrap the model for the CPU.

    Args:
        cfg (Config): Config of the run, changed in place.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UsageError: If the process was not started by that launcher.
    """
    cfg.launcher = launcher
    wrapper = cfg.get('model_wrapper_cfg') or {}
    if wrapper.get('type') == _CPU_WRAPPER:
        # from the dumped config of a run on the CPU
        cfg.pop('model_wrapper_cfg')
    if launcher == 'none':
        _check_alone()
        return
    variables = _RANK_VARIABLES[launcher]
    if variables[0] not in os.environ:
        raise UsageError(
            f'--launcher {launcher} needs a process started by '
            f'{_COMMANDS[launcher]} ({variables[0]} is not set); for a single '
            'process, omit --launcher.'
        )
    for name, source in zip(
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), variables, strict=True
    ):
        os.environ[name] = os.environ.get(source, '0')
    try:
        _join(cfg, launcher)
    except ValueError as error:  # from a variable, possibly one of PyTorch
        raise UsageError(
            f'--launcher {launcher} cannot join the other processes: '
            f'{one_line(error)}; start it with {_COMMANDS[launcher]}.'
        ) from error


def _check_alone() -> None:
    """Raise an error if several processes would each run alone."""
    for launcher, (rank, *_) in _RANK_VARIABLES.items():
        count = os.environ.get(_SIZES[launcher], '1')
        if rank in os.environ and count.isdigit() and int(count) > 1:
            raise UsageError(
                f'{_COMMANDS[launcher]} started {count} processes '
                f'({_SIZES[launcher]}), and each would run alone: pass '
                f'--launcher {launcher}.'
            )


def _join(cfg: Config, launcher: str) -> None:
    """Open the process group, with the variables of PyTorch set."""
    if launcher == 'mpi':
        os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    if launcher == 'slurm':
        # two jobs on the same node must not meet
        port = 20000 + int(os.environ.get('SLURM_JOB_ID', 0)) % 10000
        os.environ.setdefault('MASTER_PORT', str(port))
    env_cfg = cfg.get('env_cfg') or {}
    dist_cfg = env_cfg.get('dist_cfg') or {}
    if torch.cuda.is_available():
        if not dist.is_initialized():
            mp_cfg = env_cfg.get('mp_cfg') or {}
            set_multi_processing(**mp_cfg, distributed=True)
            init_dist(launcher, **dist_cfg)
        return
    os.environ.setdefault('MASTER_PORT', '29500')
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_slurm_host()
    if not dist.is_initialized():
        seconds = dist_cfg.get('timeout')
        dist.init_process_group(
            'gloo',
            timeout=None if seconds is None else timedelta(seconds=seconds),
        )
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type=_CPU_WRAPPER,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )


def ask_rank_0(question: Callable[[], T]) -> T:
    """Let rank 0 find something out and tell the others.

    Args:
        question (Callable): Called only in rank 0, so files that all would
            read are read once.

    Returns:
        Any: Its answer, in every process.

    Raises:
        UsageError: In every process, if it is raised in rank 0.
    """
    answer: List[Any] = [None]
    if is_main_process():
        try:
            answer = [question()]
        except UsageError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UsageError):
        raise answer[0]
    return answer[0]


def _first_slurm_host() -> str:
    command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
    try:
        hosts = subprocess.run(
            command, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f'{" ".join(command)} must name the nodes of the job ({error}); '
            'set MASTER_ADDR to the first one instead.'
        ) from error
    return hosts.stdout.split()[0]
