"""Write facts about a GPU and its packages as JSON.

python tools/benchmarks/gpu_facts.py facts.json
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmrep.compat.torchvision import describe
from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.ops import backend_report

# Names of nvidia-smi.
QUERY = 'name,driver_version,memory.total,clocks.max.sm,power.limit'
# Variables of the environment begin so.
VARIABLES = (
    'CUDA', 'CUDNN', 'NVIDIA', 'NCCL', 'OMP', 'PYTORCH', 'TORCH', 'TRITON',
)  # fmt: skip


def device_facts(index):
    """Everything that PyTorch knows about a device."""
    properties = torch.cuda.get_device_properties(index)
    names = (n for n in dir(properties) if not n.startswith('_'))
    return {name: str(getattr(properties, name, '')) for name in names}


def nvidia_smi(*options):
    """The output of the driver, or why there is none."""
    command = ['nvidia-smi', *options]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=8
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr


def main():
    args = parse_args()
    found = {
        **facts(),
        'devices': [device_facts(i) for i in range(torch.cuda.device_count())],
        'system': platform.platform(),
        # what may change a result
        'environment': {
            name: value
            for name, value in os.environ.items()
            if name.startswith(VARIABLES)
        },
        # for data loaders
        'shared memory': shutil.disk_usage('/dev/shm').total,
        'nvidia-smi': nvidia_smi(f'--query-gpu={QUERY}', '--format=csv'),
        # other processes, ECC, MIG
        'nvidia-smi table': nvidia_smi(),
        'cudnn': torch.backends.cudnn.version(),
        'nccl': torch.cuda.nccl.version() if torch.cuda.is_available() else '',
        'backends': backend_report(),
        'nms': describe('nms'),
        'roi_align': describe('roi_align_forward'),
    }
    write_json(args.out, found)
    print(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
