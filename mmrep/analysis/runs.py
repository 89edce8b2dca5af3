"""What a script says of a run, and how it writes that down."""

import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Dict

import torch

from mmrep.checkpoint.saving import replaced


def write_json(path: Path, value: object) -> None:
    """Write a file that is whole or not there."""
    with replaced(path) as draft:
        draft.write_text(json.dumps(value, indent=1) + '\n')


def facts(root: Path) -> Dict[str, object]:
    """What results were obtained with.

    Args:
        root (Path): Folder of the repository.

    Returns:
        dict[str, object]: Device, versions, date and commit.
    """
    cuda = torch.cuda.is_available()
    commit = subprocess.run(
        ['git', '-C', str(root), 'rev-parse', 'HEAD'],
        capture_output=True,
        text=True,
    )
    return {
        'device': torch.cuda.get_device_name() if cuda else 'cpu',
        'threads': torch.get_num_threads(),
        'instructions': torch.backends.cpu.get_cpu_capability(),
        'torch': torch.__version__,
        'python': platform.python_version(),
        'date': time.strftime('%Y-%m-%d %H:%M', time.gmtime()),
        'commit': commit.stdout.strip() or 'unknown',
    }
