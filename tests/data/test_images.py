import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import (
    Compose,
    LoadImageFromFile,
    RandomApply,
    RandomChoice,
)
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS, init_default_scope
from sweep import sweep

from mmrep.data.images import GuardedLoading, guard_loading, is_truncated
from mmrep.engine import enable_aug_test, load_config, set_data_root
from mmrep.errors import UsageError

CONFIG = Path(__file__).parents[2] / 'configs/upernet_replknet-tiny_shapes.py'


def encode(extension):
    image = np.random.default_rng(0).integers(256, size=(32, 48, 3))
    return cv2.imencode(extension, image.astype(np.uint8))[1].tobytes()


def progressive():
    image = np.random.default_rng(0).integers(256, size=(32, 48, 3))
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    return cv2.imencode('.jpg', image.astype(np.uint8), flags)[1].tobytes()


def with_thumbnail():
    """A JPEG that holds a whole smaller one in front of its scan."""
    data, small = encode('.jpg'), encode('.jpg')
    length = (len(small) + 2).to_bytes(2, 'big')
    return data[:2] + b'\xff\xe1' + length + small + data[2:]


@pytest.mark.parametrize(
    'data',
    [encode('.jpg'), progressive(), with_thumbnail(), encode('.png')],
    ids=['baseline', 'progressive', 'thumbnail', 'png'],
)
def test_truncated(tmp_path, data):
    path = tmp_path / 'image'
    for sound in (data, data + bytes(64)):
        path.write_bytes(sound)
        assert not is_truncated(str(path))
        assert cv2.imread(str(path)) is not None
    for length in (0, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:length])
        assert is_truncated(str(path))


@pytest.mark.parametrize('extension', ['.bmp', '.tiff'])
def test_other_formats_are_left_alone(tmp_path, extension):
    path = tmp_path / 'image'
    path.write_bytes(encode(extension))
    assert not is_truncated(str(path))


class Images(BaseDataset):
    """The images of a folder."""

    def load_data_list(self):
        folder = Path(self.data_prefix['img_path'])
        return [
            dict(img_path=str(p), seg_map_path=None)
            for p in sorted(folder.iterdir())
        ]


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        (tmp_path / f'{i}.jpg').write_bytes(encode('.jpg'))
    return tmp_path


def make(folder, **kwargs):
    return Images(
        data_prefix=dict(img_path=str(folder)),
        pipeline=[LoadImageFromFile()],
        **kwargs,
    )


@pytest.mark.parametrize('data', [b'', b'text', encode('.jpg')[:-40]])
def test_corrupt_image(folder, data):
    (folder / '2.jpg').write_bytes(data)
    dataset = make(folder)
    assert guard_loading(dataset) == 1
    assert dataset[1]['img'].shape == (32, 48, 3)
    with pytest.raises(UsageError, match='2.jpg.*--skip-corrupt') as error:
        dataset[2]
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('data', [b'text', encode('.jpg')[:-40]])
def test_skipping_is_said(folder, data, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmrep.data.images.print_log', lambda *args: lines.append(args)
    )
    (folder / '2.jpg').write_bytes(data)
    dataset = make(folder)
    guard_loading(dataset, skip=True)
    for _ in range(3):
        assert dataset[2]['img_path'] != str(folder / '2.jpg')
    assert len(lines) == 1, 'each file once'
    assert str(folder / '2.jpg') in lines[0][0] and 'skipped' in lines[0][0]


def test_nothing_is_skipped_in_a_test(folder):
    (folder / '2.jpg').write_bytes(b'text')
    dataset = make(folder, test_mode=True)
    guard_loading(dataset)
    with pytest.raises(UsageError, match='2.jpg'):
        dataset[2]


def test_label_maps(folder):
    """A sample names its label map too, which another transform loads."""

    class LoadAnnotations:
        def __call__(self, results):
            image = cv2.imread(results['seg_map_path'])
            return dict(results, label=image.squeeze())

    path = folder / 'label.png'
    path.write_bytes(b'text')
    load = GuardedLoading(LoadAnnotations())
    with pytest.raises(UsageError, match='x.jpg or .*label.png.*NoneType'):
        load(dict(img_path='x.jpg', seg_map_path=str(path)))
    path.write_bytes(encode('.png')[:-30])
    load = GuardedLoading(LoadImageFromFile())
    with pytest.raises(UsageError, match='label.png is truncated'):
        load(dict(img_path=str(folder / '1.jpg'), seg_map_path=str(path)))


@pytest.fixture(params=['train', 'test'])
def segmentation(request, shapes_root, tmp_path):
    """A copy of a set of shapes, guarded, and its first label map.

    The test pipeline reads label maps behind a transform that resizes.
    """
    root = shutil.copytree(shapes_root, tmp_path / 'shapes')
    cfg = load_config(str(CONFIG))
    set_data_root(cfg, str(root))
    init_default_scope('mmseg')
    config = cfg[f'{request.param}_dataloader'].dataset
    config.test_mode = request.param == 'test'
    dataset = DATASETS.build(config)
    assert guard_loading(dataset) == 2
    return dataset, Path(dataset.get_data_info(0)['seg_map_path'])


def spoilt(data):
    """A checksum that is wrong."""
    return data[:80] + bytes([data[80] ^ 255]) + data[81:]


@pytest.mark.parametrize(
    'spoil, text',
    sweep(
        [
            (lambda p: p.write_bytes(b''), 'is truncated'),
            (lambda p: p.write_bytes(p.read_bytes()[:60]), 'is truncated'),
            (lambda p: p.write_bytes(spoilt(p.read_bytes())), 'OSError: '),
            (
                lambda p: p.write_bytes(b'text'),
                '(UnidentifiedImageError: cannot identify image file);',
            ),
            (lambda p: p.unlink() or p.mkdir(), 'Is a directory'),
            (lambda p: p.unlink() or p.symlink_to(p), 'symbolic links'),
        ],
        unpack=True,
    ),
)
def test_spoilt_label_map(segmentation, spoil, text):
    dataset, path = segmentation
    spoil(path)
    with pytest.raises(UsageError) as error:
        dataset[0]
    assert f'{path}' in str(error.value) and text in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('shape', [(32, 48), (64, 64, 3)])
def test_label_map_of_another_shape(segmentation, shape):
    dataset, path = segmentation
    assert 'data_samples' in dataset[0]
    cv2.imwrite(str(path), np.ones(shape, np.uint8))
    with pytest.raises(UsageError) as error:
        dataset[0]
    text = str(error.value)
    assert str(path) in text
    if len(shape) == 3:
        assert 'has colours (3 channels)' in text
        assert 'mmrep data convert masks' in text and 'skip' not in text
    else:
        assert f'{path.stem}.jpg or ' in text and '--skip-corrupt' in text
        assert f'of the image, (64, 64), got {shape}' in text
    if dataset.test_mode:
        return
    for transform in dataset.pipeline.transforms:
        if isinstance(transform, GuardedLoading):
            transform.skip = True
    assert dataset[0]['data_samples'].seg_map_path != str(path)


def test_wrapped_datasets(folder):
    assert guard_loading(RepeatDataset(make(folder), 2)) == 1
    assert guard_loading(ConcatDataset([make(folder), make(folder)])) == 2


@pytest.mark.parametrize(
    'wrap',
    [
        lambda load: Compose([load]),
        lambda load: RandomApply([load], prob=1.0),
        lambda load: RandomChoice([[load], [load]]),
    ],
)
def test_loading_within_a_transform(folder, wrap):
    dataset = make(folder)
    dataset.pipeline.transforms[0] = wrap(LoadImageFromFile())
    assert guard_loading(dataset) >= 1
    assert dataset[2]['img'].shape == (32, 48, 3)
    (folder / '2.jpg').write_bytes(b'text')
    with pytest.raises(UsageError, match='2.jpg'):
        dataset[2]


def test_label_map_in_test_time_augmentation(shapes_root, tmp_path):
    root = shutil.copytree(shapes_root, tmp_path / 'shapes')
    cfg = load_config(str(CONFIG))
    set_data_root(cfg, str(root))
    enable_aug_test(cfg)
    init_default_scope('mmseg')
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'test_mode': 1})
    # the image, and the label map once for each of the views
    assert guard_loading(dataset) == 1 + 12
    assert len(dataset[0]['inputs']) == 12
    path = Path(dataset.get_data_info(0)['seg_map_path'])
    path.write_text('text')
    with pytest.raises(UsageError, match=f'LoadAnnotations .*{path}'):
        dataset[0]


def test_guarding_twice(folder):
    dataset = make(folder)
    assert guard_loading(dataset) == 1
    assert guard_loading(dataset) == 0
    assert 'LoadImageFromFile' in repr(dataset.pipeline)
