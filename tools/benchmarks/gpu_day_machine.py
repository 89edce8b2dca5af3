"""What gpu_day.py finds: packages, and a GPU that answers."""

import os
import sys
import tempfile
from importlib import metadata, util

from gpu_day_processes import attempt
from gpu_day_steps import Command

# Import name and pip name of the packages that some step needs, and what they
# need: pip installs a folder of wheels without it.
PACKAGES = {
    'torch': 'torch',
    'triton': 'triton',
    'scipy': 'scipy',
    'pytest': 'pytest',
    'yapf': 'yapf',
    'cv2': 'opencv-python-headless',
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmseg': 'onedl-mmsegmentation',
    'mmdet': 'onedl-mmdetection',
    'pycocotools': 'pycocotools',
    'shapely': 'shapely',
    'terminaltables': 'terminaltables',
    'ftfy': 'ftfy',
    'regex': 'regex',
    'wcwidth': 'wcwidth',
    'addict': 'addict',
    'termcolor': 'termcolor',
    'prettytable': 'prettytable',
    'platformdirs': 'platformdirs',
    'matplotlib': 'matplotlib',
    'rich': 'rich',
    'yaml': 'pyyaml',
    'PIL': 'pillow',
    'numpy': 'numpy',
    'packaging': 'packaging',
    'tqdm': 'tqdm',
    'xdist': 'pytest-xdist',
}
# Seconds in which PyTorch must find the device, and in which the driver must
# answer.
FIND, ANSWER = 100, 20
# What the driver says, without PyTorch, which takes seconds to import.
ASK = """
import ctypes, sys
cuda, count = ctypes.CDLL('libcuda.so.1'), ctypes.c_int()
sys.exit(
    bool(cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)))
    or not count.value
)
"""


def versions():
    """Versions of the installed packages."""
    found = {}
    for name in [*PACKAGES.values(), 'torchvision']:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def say_what_is_missing(wheels):
    """One line, with the command that installs packages without network."""
    missing = [pip for name, pip in PACKAGES.items() if not is_there(name)]
    if missing:
        say(
            f'missing: {", ".join(missing)}; from a folder of wheels: '
            f'{sys.executable} -m pip install --no-index --no-deps --target '
            f'/tmp/site {wheels}/*.whl && '
            'export PYTHONPATH=/tmp/site:$PYTHONPATH'
        )


def is_there(name):
    return util.find_spec(name) is not None


def find_device():
    """The device that PyTorch sees, or ''; in a process, as it may hang."""
    code = (
        'import torch; torch.zeros(1).cuda(); '
        'print(torch.cuda.get_device_name())'
    )
    with tempfile.TemporaryFile() as file:
        words = [sys.executable, '-c', code]
        ended, _ = attempt(Command('', words, FIND, None, {}), file, FIND)
        file.seek(0)
        said = file.read().decode(errors='replace').strip().splitlines()
    if ended == 'done':
        return said[-1]
    say(f'PyTorch finds no CUDA device ({ended}): {"".join(said[-1:])}')
    return ''


def answers():
    """Whether the driver still knows of a device."""
    words = [sys.executable, '-c', ASK]
    with open(os.devnull, 'wb') as file:
        probe = Command('', words, ANSWER, None, {}, grace=0)
        return attempt(probe, file, ANSWER)[0] == 'done'


def say(text):
    """Print a line, even if nobody reads any more."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, 'w')
