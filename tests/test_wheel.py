"""The wheel, installed in an environment of its own, away from the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = (
    *('mmrep', 'mmrep_cli', 'configs', 'projects', 'tools', 'requirements'),
    *('LICENSE', 'MANIFEST.in', 'README.md', 'model-index.yml'),
    *('pyproject.toml', 'requirements.txt', 'setup.py'),
)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Call what the wheel has installed, from a folder of its own."""
    pytest.importorskip('setuptools', '77')
    folder = tmp_path_factory.mktemp('wheel')
    source, venv, cwd = (folder / x for x in ('source', 'venv', 'cwd'))
    for part in (source, cwd):
        part.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, '-m', 'pip', '--quiet']
    build = [*pip, 'wheel', source, '--no-deps', '--no-build-isolation']
    subprocess.run([*build, '--wheel-dir', folder], check=True)
    [wheel] = folder.glob('*.whl')
    make = [sys.executable, '-m', 'venv', '--without-pip', venv]
    subprocess.run(make, check=True)
    # everything else is here already
    [site] = venv.glob('lib/python*/site-packages')
    (site / 'present.pth').write_text(sysconfig.get_paths()['purelib'])
    into = ['--python', venv / 'bin/python']
    subprocess.run([*pip, *into, 'install', '--no-deps', wheel], check=True)

    def call(program, *args):
        env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        done = subprocess.run(
            [venv / 'bin' / program, *map(str, args)],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return call


@pytest.mark.slow
def test_commands(installed):
    where = installed('python', '-c', 'import mmrep; print(mmrep.__file__)')
    assert 'venv' in where and str(ROOT) not in where
    assert 'Train a segmentor' in installed('mmrep', '--help')
    assert 'large-kernel backends: native' in installed('mmrep', 'env')


@pytest.mark.slow
def test_base_is_found(installed):
    code = (
        'from pathlib import Path; from mmengine.config import Config; '
        'import mmrep; '
        "Path('my.py').write_text("
        '"_base_ = \'mmrep::upernet_replknet31b_ade20k.py\'"); '
        "print(Config.fromfile('my.py').model.backbone.arch)"
    )
    assert installed('python', '-c', code).strip() == '31B'


@pytest.mark.slow
def test_one_step(installed, shapes_root):
    log = installed(
        'mmrep', 'train', 'mmrep::upernet_replknet-tiny_shapes.py',
        '--data-root', shapes_root, '--work-dir', 'work', '--cfg-options',
        'model.backbone.arch.depths=[1,1,1,1]', 'train_cfg.max_iters=1',
        'model.backbone.arch.kernel_sizes=[7,7,5,5]',
        'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
    )  # fmt: skip
    assert 'Iter(train) [1/1]' in log
