"""Where results come from: device, versions, date and commit."""

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from mmrep.version import __version__


def facts(device: Optional[str] = None) -> Dict[str, Any]:
    """Facts that a benchmark writes next to its numbers.

    Args:
        device (str, optional): 'cpu' or 'cuda'. Defaults to None, the GPU if
            there is one.

    Returns:
        dict[str, Any]: ``device``, ``name`` (of the processor or GPU),
        ``cores``, ``threads``, ``instructions`` (of the CPU), ``bf16`` and
        ``vnni`` (whether it has these instructions), ``torch``, ``cuda`` (on
        a GPU), ``python``, ``mmrep``, ``date`` (UTC) and ``commit``.
    """
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    on_gpu = device != 'cpu'
    return {
        'device': device,
        'name': torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'instructions': torch.backends.cpu.get_cpu_capability(),
        'bf16': torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        'vnni': torch.cpu._is_vnni_supported(),
        'torch': torch.__version__,
        **({'cuda': torch.version.cuda} if on_gpu else {}),
        'python': platform.python_version(),
        'mmrep': __version__,
        'date': time.strftime('%Y-%m-%d %H:%M', time.gmtime()),
        'commit': _commit(),
    }


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():  # Linux
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of mmrep's repository, if it is in one."""
    command = ['git', '-C', str(Path(__file__).parent), 'rev-parse', 'HEAD']
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # git is not installed
        return 'unknown'
    return done.stdout.strip() or 'unknown'
