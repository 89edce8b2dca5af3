"""Fixtures for the whole suite: small models and small data."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
if WORKERS > 1:
    # they, and the processes that they start, share the cores
    threads = max(1, torch.get_num_threads() // WORKERS)
    torch.set_num_threads(threads)
    os.environ['OMP_NUM_THREADS'] = str(threads)
if not torch.cuda.is_available():
    # Triton reads this when it is imported: its kernels then run on the CPU
    os.environ.setdefault('TRITON_INTERPRET', '1')

import processes  # noqa: E402

import mmrep  # noqa: E402, F401  the operators, before a test imports mmdet
from mmrep.compat import torchvision  # noqa: E402
from mmrep.models import initialise  # noqa: E402
from mmrep.ops import backend_report  # noqa: E402

ROOT = Path(__file__).parents[1]
pytest.register_assert_rewrite('shipped_configs')


def pytest_report_header() -> list:
    """What differs between environments."""
    operators = ('nms', 'roi_align_forward', 'roi_align_backward')
    used = [f'{name} by {torchvision.describe(name)}' for name in operators]
    return [
        f'torch: {torch.__version__}, {backend_report()}',
        f"mmrep's stand-ins: {', '.join(used)}",
    ]


def pytest_collection_modifyitems(items):
    """With several workers the short files come last, so all end together."""
    if WORKERS > 1:
        slow = {item.path for item in items if 'slow' in item.keywords}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope='module')
def _freeze():
    """Each data set collects garbage: let it skip what was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    # what a run in this process, in an earlier test, told torch of unpickling
    os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)


@pytest.fixture
def tiny_arch() -> dict:
    """Two blocks in one stage, one in the others, every kernel size."""
    return dict(
        channels=(8, 12, 16, 20),
        depths=(1, 1, 2, 1),
        kernel_sizes=(13, 11, 9, 7),
    )


@pytest.fixture(scope='session')
def randomise():
    """Give a model norms, layer scales and biases that no form may lose."""
    return initialise.randomise


@pytest.fixture(scope='session')
def run_tool(request, tmp_path_factory):
    """Run a script of tools/ as a user would.

    With ``fresh`` a new Python does all imports on its own account, unless
    slow tests are left out; else a fork has them done, with those of
    MMSegmentation and MMDetection.
    """
    logs = tmp_path_factory.mktemp('run_tool')
    quick = request.config.option.markexpr == 'not slow'

    def run(*args, cwd=ROOT, timeout=300, fresh=False):
        script, *_ = args = list(map(str, args))
        if script.endswith('.py') and (quick or not fresh):
            return run_forked(args, cwd, timeout)
        command = 'bash' if script.endswith('.sh') else sys.executable
        return subprocess.run(
            [command, *args],
            cwd=cwd,
            env={**os.environ, 'PYTHON': sys.executable},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def run_forked(args, cwd, timeout):
        paths = [logs / name for name in ('stdout', 'stderr')]
        for path in paths:
            path.write_text('')
        process = processes.start(args, *paths, cwd=cwd)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(args, timeout)
        out, err = (path.read_text() for path in paths)
        return subprocess.CompletedProcess(args, process.exitcode, out, err)

    return run


@pytest.fixture
def mount(tmp_path):
    """Mount a file system in memory, where that is allowed."""
    mounted = []

    def mount_at(name, options):
        path = tmp_path / name
        path.mkdir()
        command = ['mount', '-t', 'tmpfs', '-o', options, 'none', str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip('mounting is not allowed')
        mounted.append(path)
        return path

    yield mount_at
    for path in mounted:
        subprocess.run(['umount', '-l', str(path)], check=True)


@pytest.fixture
def full(mount):
    """A folder on a disk that has 4 KB left."""
    folder = mount('full', 'size=64k')
    (folder / '.filling').write_bytes(bytes(60 * 1024))
    return folder


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory, run_tool) -> Path:
    """A data set of 16 + 6 images of 64x64 from the shapes generator."""
    out = tmp_path_factory.mktemp('data') / 'shapes'
    done = run_tool(
        ROOT / 'tools/dataset_converters/make_shapes.py',
        out,
        '--train',
        16,
        '--val',
        6,
        '--size',
        64,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope='session')
def small_segmentor(tmp_path_factory, shapes_root, randomise):
    """Config and checkpoint of a segmentor whose norms do something."""
    from mmrep.deploy import build_model
    from mmrep.engine import load_config

    folder = tmp_path_factory.mktemp('segmentor')
    config, checkpoint = folder / 'small.py', folder / 'small.pth'
    config.write_text(
        f"_base_ = '{ROOT}/configs/upernet_replknet-tiny_shapes.py'\n"
        f"test_dataloader = dict(dataset=dict(data_root='{shapes_root}'))\n"
        'model = dict(\n'
        '    backbone=dict(arch=dict(channels=[8, 12, 16, 20],\n'
        '        depths=(1, 1, 1, 1), kernel_sizes=(13, 9, 7, 5))),\n'
        '    decode_head=dict(in_channels=[8, 12, 16, 20], channels=16),\n'
        '    auxiliary_head=dict(in_channels=16, channels=8),\n'
        ')\n'
    )
    torch.manual_seed(0)
    model = randomise(build_model(load_config(str(config))))
    # a new head sees no difference between the classes
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='session')
def grey_config(tmp_path_factory, small_segmentor) -> Path:
    """Config of a segmentor for pictures of one channel."""
    config = tmp_path_factory.mktemp('grey') / 'grey.py'
    config.write_text(
        f"_base_ = '{small_segmentor[0]}'\n"
        'model = dict(\n'
        '    data_preprocessor=dict(mean=[46.4], std=[42.5],\n'
        '        bgr_to_rgb=False),\n'
        '    backbone=dict(in_channels=1),\n'
        ')\n'
        "load = dict(type='LoadImageFromFile', color_type='grayscale')\n"
        'pipeline = [load, *_base_.test_pipeline[1:]]\n'
        'test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    return config


@pytest.fixture(scope='session')
def small_classifier(tmp_path_factory) -> Path:
    """Config of a classifier of ImageNet's 1,000 classes."""
    config = tmp_path_factory.mktemp('classifier') / 'imagenet.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/classifier_replknet31b_imagenet.py'\n"
        'model = dict(in_channels=8, backbone=dict(out_indices=(1,),\n'
        '    arch=dict(_delete_=True, channels=(8, 8), depths=(1, 1),\n'
        '        kernel_sizes=(5, 3), small_kernel=None)))\n'
    )
    return config
