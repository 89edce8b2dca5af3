"""What MMEngine writes, on a full disk: whole or not at all."""

import json
import logging

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import dump, get_file_backend, register_backend
from mmengine.fileio.backends import LocalBackend as MMEngineBackend
from mmengine.logging import MMLogger
from PIL import Image

from mmrep.data.iou import IoUMetric
from mmrep.files import WriteError, is_full, write_image
from mmrep.runner.hardened import use_hardened_parts
from mmrep.runner.saving import LocalBackend, LocalVisBackend, end_without_log

NOISE = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)


def files(folder):
    """What was written."""
    return [p for p in folder.rglob('*') if p.is_file() and p.stem[0] != '.']


@pytest.fixture
def hardened():
    cfg = Config(dict(visualizer=dict(vis_backends=[dict(
        type='LocalVisBackend')])))  # fmt: skip
    use_hardened_parts(cfg)
    yield cfg
    register_backend('local', MMEngineBackend, force=True, prefixes='')


def test_a_run_uses_them(hardened):
    (backend,) = hardened.visualizer.vis_backends
    assert backend.type == 'mmrep.LocalVisBackend'
    for name in ('a.json', '/work/a.pkl'):
        assert type(get_file_backend(name)) is LocalBackend


@pytest.mark.parametrize('name', ['a.pkl', 'a.json'])
def test_results(hardened, full, name):
    path = full / name
    dump('old', path)
    with pytest.raises(WriteError, match=f'{path} .* No space left'):
        dump('new' * 3000, path)
    assert 'old' in path.read_text(errors='ignore')
    assert files(full) == [path]


def test_pictures(full):
    backend = LocalVisBackend(str(full))
    with pytest.raises(WriteError, match='a_3.png cannot be written: No'):
        backend.add_image('a', NOISE, 3)
    assert not files(full)
    (full / '.filling').unlink()
    backend.add_image('a', NOISE, 3)
    (path,) = files(full)
    np.testing.assert_array_equal(np.array(Image.open(path)), NOISE)


def test_scalars(full):
    backend = LocalVisBackend(str(full))
    with pytest.raises(WriteError, match='scalars.json cannot be written: No'):
        for step in range(300):
            backend.add_scalars(dict(loss=1.5), step)
    lines = (full / 'scalars.json').read_text().splitlines()
    assert len(lines) > 9
    assert json.loads(lines[-1]) == dict(loss=1.5, step=len(lines) - 1)


def test_config(full):
    backend = LocalVisBackend(str(full))
    with pytest.raises(WriteError, match='config.py cannot be written: No'):
        backend.add_config(Config(dict(a=['b'] * 3000)))
    assert not files(full)
    backend.add_config(Config(dict(a=1)))
    assert Config.fromfile(full / 'config.py').a == 1


def test_label_maps(full):
    metric = IoUMetric(output_dir=str(full), format_only=True)
    metric.dataset_meta = dict(classes=['a'] * 256)
    labels = dict(data=torch.from_numpy(NOISE[None, :, :, 0]))
    sample = dict(img_path='a.jpg', pred_sem_seg=labels)
    with pytest.raises(WriteError, match='a.png cannot be written: No space'):
        metric.process({}, [sample])
    assert not files(full)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_pictures_of_opencv(full, suffix):
    with pytest.raises(OSError, match='No space left'):
        write_image(full / f'a{suffix}', NOISE)


def test_log(full, capfd):
    """It ends the run; Python goes on, with a traceback for every line."""
    logger = MMLogger('test_log', log_file=str(full / 'a.log'))
    end_without_log(logger)
    with pytest.raises(OSError) as error:
        for _ in range(300):
            logger.log(logging.INFO, 'a line that says something')
    assert is_full(error.value)
    assert 'Traceback' not in capfd.readouterr().err
