"""Test that MMEngine finds mmrep's configs by their names."""

import subprocess
import sys

import mmengine
import pytest
from mmengine.config import Config

from mmrep.compat.configs import config_names, find_config
from mmrep.engine import load_config
from mmrep.errors import UsageError

NAME = 'upernet_replknet31b_ade20k'


@pytest.fixture
def inherit(tmp_path, monkeypatch):
    """A config that inherits from ``base``, read far from the clone."""
    monkeypatch.chdir(tmp_path)

    def read(base):
        (tmp_path / 'own.py').write_text(f'_base_ = {base!r}\n')
        return Config.fromfile('own.py')

    return read


@pytest.mark.parametrize('suffix', ['', '.py'])
def test_base_of_mmrep(inherit, suffix):
    cfg = inherit(f'mmrep::{NAME}{suffix}')
    assert cfg.to_dict() == Config.fromfile(find_config(NAME)).to_dict()


def test_base_of_a_project(inherit):
    name = 'projects/from_scratch/configs/fcos_replknet-small_bccd.py'
    assert inherit(f'mmrep::{name}').model.type == 'FCOS'


def test_base_below_configs(inherit):
    cfg = inherit('mmrep::_base_/datasets/ade20k.py')
    assert cfg.data_root == 'data/ade/ADEChallengeData2016'


@pytest.mark.parametrize(
    'base',
    [
        'mmseg::_base_/models/upernet_r50.py',
        'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    ],
)
def test_bases_of_others_keep_their_scope(inherit, base):
    assert inherit(base).model._scope_ == base.partition('::')[0]


def test_base_that_is_not_there(inherit):
    with pytest.raises(UsageError, match=f'did you mean {NAME!r}'):
        inherit('mmrep::upernet_replknet31b_ade2k.py')


def test_names_are_those_of_the_folder():
    assert NAME in config_names()
    assert 'default_runtime' not in config_names()


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', f'mmrep::{NAME}.py'])
def test_tools_take_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).filename == find_config(NAME)


def test_tools_take_a_name_of_another_package():
    name = 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'
    assert load_config(name).model.decode_head.type == 'FCNHead'
    with pytest.raises(UsageError, match='x.py is not a config of an instal'):
        load_config('mmseg::fcn/x.py')


@pytest.mark.parametrize(
    'name, line',
    [
        (
            'upernet_replknet31b_ade2k',
            'upernet_replknet31b_ade2k is not a file, and mmrep has no config '
            f"'upernet_replknet31b_ade2k'; did you mean {NAME!r}?",
        ),
        (
            f'configs/{NAME}.py',
            f"the config must be an existing file, got 'configs/{NAME}.py'; "
            f'the one of mmrep is called {NAME!r}.',
        ),
        (
            'mmyolo3::x.py',
            "the config must be an existing file, got 'mmyolo3::x.py'.",
        ),
    ],
)
def test_wrong_name(name, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        load_config(name)
    assert str(error.value) == line


@pytest.mark.slow
def test_mmengine_alone_refuses():
    """What find_package_configs() is for."""
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            'from mmengine.config import Config; '
            f"Config._get_cfg_path('mmrep::{NAME}.py', '')",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, mmengine.__version__
