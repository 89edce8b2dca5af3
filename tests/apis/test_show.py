"""Pictures of a test's predictions: ``tools/test.py --show-dir``."""

import shutil

import pytest
from sweep import sweep

from mmrep.apis import ShowHook
from mmrep.engine import build_runner, load_config, set_data_root
from mmrep.errors import UsageError


@pytest.fixture
def runner(small_segmentor, shapes_root, tmp_path):
    cfg = load_config(str(small_segmentor[0]))
    root = shutil.copytree(shapes_root, tmp_path / 'data')
    set_data_root(cfg, str(root), ['test_dataloader'])
    cfg.work_dir, cfg.load_from = f'{tmp_path}/work', str(small_segmentor[1])
    return build_runner(cfg, 'test')


@pytest.mark.parametrize('folder', sweep(['images', 'annotations']))
def test_own_files_are_kept(runner, tmp_path, folder):
    """Label maps are PNG files of the images' names."""
    own = tmp_path / 'data' / folder / 'validation'
    for path in list(own.glob('*.jpg')):
        shutil.copy(path, path.with_suffix('.png'))
    before = {path: path.read_bytes() for path in own.iterdir()}
    runner.register_hook(ShowHook(runner.cfg, str(own)))
    with pytest.raises(
        UsageError, match='give another folder with --show-dir'
    ):
        runner.test()
    assert {path: path.read_bytes() for path in own.iterdir()} == before
