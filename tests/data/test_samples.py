"""Files and labels of a segmentation data set, looked at before a run."""

import shutil

import cv2
import numpy as np
import pytest
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from sweep import sweep

from mmrep.data.images import check_bytes, guard_loading
from mmrep.data.labels import LabelCheck, LabelError
from mmrep.data.samples import SAMPLE, check_samples
from mmrep.engine import set_data_root
from mmrep.errors import UsageError

KEY = 'train_dataloader'


@pytest.fixture
def root(shapes_root, tmp_path):
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


@pytest.fixture
def cfg(cfg, root):
    set_data_root(cfg, str(root))
    return cfg


@pytest.fixture
def check(built):
    """What the check says of a config's data set, in one line."""

    def run(cfg, key=KEY, **kwargs):
        return check_samples(key, *built(cfg, key), **kwargs)

    return run


def message(check, *args, **kwargs):
    with pytest.raises(UsageError) as error:
        check(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


def write_labels(root, make):
    """Replace all training label maps, by their number and old labels."""
    for i, path in enumerate(
        sorted((root / 'annotations/training').iterdir())
    ):
        old = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert cv2.imwrite(str(path), make(i, old))


def unreduce(cfg):
    dataset = cfg[KEY].dataset
    dataset.reduce_zero_label = False
    dataset.pipeline[1].pop('reduce_zero_label')


def test_sound(cfg, check):
    assert check(cfg) == []
    assert check(cfg, 'val_dataloader') == []


def test_labels_without_a_class(cfg, root, check):
    write_labels(root, lambda i, old: np.full_like(old, 9) if i == 7 else old)
    for options in ({}, dict(skip_corrupt=True)):
        text = message(check, cfg, **options)
        assert text.startswith(
            'labels must be 0 to 6 or 255 for pixels to ignore, and the '
            f'annotation {root}/annotations/training/'
        )
        assert 'has 8 (9 in the file; reduce_zero_label subtracts 1)' in text


def test_masks_of_0_and_255(cfg, root, check):
    unreduce(cfg)
    write_labels(root, lambda i, old: np.where(old > 1, 255, 0).astype('u1'))
    assert message(check, cfg) == (
        'train_dataloader: 16 label maps must have pixels of the classes, '
        'but there is only label 0 beside 255, which is ignored; masks of 0 '
        'and 255 must become 0 and 1.'
    )


def test_masks_of_0_and_255_with_reduced_labels(cfg, root, check):
    write_labels(root, lambda i, old: np.where(old > 1, 255, 0).astype('u1'))
    assert message(check, cfg) == (
        'train_dataloader: 16 label maps must have pixels of the classes, '
        'but there is no label beside 255, which is ignored; labels start at '
        '0, or at 1 with reduce_zero_label=True, and masks of 0 and 255 must '
        'become 0 and 1.'
    )


def test_only_one_class(cfg, root, check):
    write_labels(root, lambda i, old: np.full_like(old, 3))
    assert message(check, cfg).endswith(
        'there is only label 2: there is nothing to learn.'
    )


def test_class_that_never_occurs(cfg, root, check, monkeypatch):
    write_labels(root, lambda i, old: np.where(old == 5, 0, old))
    assert check(cfg) == [
        'train_dataloader: no pixel of label 4 (triangle) in 16 label maps; '
        'they are not learned.'
    ]
    monkeypatch.setattr('mmrep.data.samples.SAMPLE', 8)
    assert check(cfg) == [
        'train_dataloader: no pixel of label 4 (triangle) in a sample of 8 of '
        '16 label maps; rare or missing.'
    ]
    # as it may be in a validation set
    assert check(cfg, 'val_dataloader') == []


def test_colours_are_no_labels(cfg, root, check):
    path = sorted((root / 'annotations/training').iterdir())[0]
    cv2.imwrite(str(path), np.full((64, 64, 3), 200, np.uint8))
    with pytest.raises(UsageError, match='data convert masks SRC OUT'):
        check(cfg)


def test_label_maps_as_photographs(cfg, root, check):
    """Labels change at edges, into others or into none."""
    folder = root / 'annotations/training'
    for path in list(folder.iterdir()):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.unlink()
        cv2.imwrite(str(path.with_suffix('.jpg')), labels)
    cfg.train_dataloader.dataset.seg_map_suffix = '.jpg'
    with pytest.raises(
        UsageError, match='JPEG changes labels, so write label'
    ):
        check(cfg)
    for path in folder.iterdir():
        label = np.full((64, 64), int(path.stem[-1]) % 7, np.uint8)
        cv2.imwrite(str(path), label)
    note = check(cfg)[0]
    assert 'training_00000.jpg are JPEG files; JPEG changes labels' in note


def test_sample_is_small_and_spread(cfg, root, check, monkeypatch):
    for i in range(300):
        for part, suffix in (('images', '.jpg'), ('annotations', '.png')):
            source = next((root / part / 'training').iterdir())
            (root / part / 'training' / f'more{i}{suffix}').symlink_to(source)
    read = []
    monkeypatch.setattr('mmrep.data.samples.check_bytes', read.append)
    check(cfg)
    assert len(read) == SAMPLE
    assert sorted(read)[0] == min(read) and sorted(set(read)) == read


@pytest.mark.parametrize('kind', ['png', 'tif'])
def test_labels_beyond_a_byte(cfg, root, check, kind, tmp_path):
    """300 would be read as 44."""
    dtype = dict(png=np.uint16, tif=np.int32)[kind]
    path = tmp_path / f'labels.{kind}'
    labels = np.array([[0, 255]], dtype)
    assert cv2.imwrite(str(path), labels)
    check_bytes(str(path))
    labels[0, 0] = 300
    assert cv2.imwrite(str(path), labels)
    text = 'labels must be 0 to 255, because MMSegmentation reads label maps'
    with pytest.raises(UsageError, match=text) as error:
        check_bytes(str(path))
    assert f'{path} has 300' in str(error.value)
    # before the run, and in it
    name = sorted((root / 'annotations/training').iterdir())[3]
    shutil.copy(path, name)
    assert message(check, cfg).startswith(text)


def test_labels_beyond_a_byte_in_a_run(cfg, root, built):
    name = sorted((root / 'annotations/training').iterdir())[3]
    cv2.imwrite(str(name), np.full((64, 64), 300, np.uint16))
    _, dataset, _ = built(cfg)
    guard_loading(dataset, skip=True)
    with pytest.raises(UsageError, match='has 300'):
        dataset[3]


def test_label_that_a_byte_makes_another_of(cfg, root, built):
    """300 is 44 in a byte, which is no class either."""
    name = sorted((root / 'annotations/training').iterdir())[0]
    cv2.imwrite(str(name), np.full((64, 64), 300, np.uint16))
    check = LabelCheck(7, 255)
    info = dict(img_path='x.png', seg_map_path=str(name))
    with pytest.raises(UsageError, match='has 300'):
        check.check_labels([44], info)


def test_label_maps_of_another_size(cfg, root, check):
    """All of them; a single one is named as it is read."""
    paths = sorted((root / 'annotations/training').iterdir())
    for path in paths[1:]:
        cv2.imwrite(str(path), np.zeros((32, 48), np.uint8))
    check(cfg)
    cv2.imwrite(str(paths[0]), np.zeros((32, 48), np.uint8))
    picture = root / 'images/training/shapes_training_00000.jpg'
    assert message(check, cfg) == (
        'train_dataloader: label maps must have the size of their pictures, '
        f'but {paths[0]} is 48 x 32 and {picture} is 64 x 64, and all 8 that '
        'were tried differ. Give the label maps of these pictures, or resize '
        'them with nearest neighbours, which keeps the numbers of the classes.'
    )


def test_missing_label_maps(cfg, root, check):
    names = sorted((root / 'annotations/training').iterdir())
    names[2].unlink()
    assert message(check, cfg).startswith(
        'train_dataloader: each image must have a label map, but 1 of 16 '
        f'label maps is missing, e.g. {names[2]}; check '
        'data_prefix.seg_map_path'
    )
    assert check(cfg, skip_corrupt=True) == []
    cfg[KEY].dataset.seg_map_suffix = '.tif'
    assert 'all 16 label maps are missing' in message(check, cfg)


@pytest.mark.parametrize(
    'edit, hint',
    sweep(
        [
            (
                lambda names: [f'{name}.jpg' for name in names],
                "a line has a suffix, '00000.jpg', and img_suffix, '.jpg', is "
                'added; remove it from the lines.',
            ),
            (
                lambda names: [f'{name}.png' for name in names],
                "a line has a suffix, '00000.png', and img_suffix, '.jpg', is "
                'added; remove it from the lines.',
            ),
            (lambda names: [*names, ''], 'a line is blank; remove it.'),
            (
                lambda names: [f'{name} {name}' for name in names],
                "a line has several names, '00000 00000'; keep only "
                'the image.',
            ),
            (lambda names: [*names, 'x'], 'check data_prefix and img_suffix.'),
        ],
        unpack=True,
    ),
)
def test_lines_of_an_annotation_file(cfg, root, check, edit, hint):
    names = sorted(p.stem for p in (root / 'images/training').iterdir())
    names = ['00000', *names[1:]] if '00000' in names else names
    file = root / 'train.txt'
    file.write_text('\n'.join(names) + '\n')
    cfg[KEY].dataset.ann_file = 'train.txt'
    assert check(cfg) == []
    file.write_text('\n'.join(edit(names)) + '\n')
    text = message(check, cfg)
    assert text.startswith(f'train_dataloader: the images that {file} lists')
    assert text.endswith(hint.replace('00000', names[0]))


@pytest.mark.parametrize('fault', ['config', 'files'])
def test_fault_of_every_sample(cfg, root, check, fault):
    """--skip-corrupt would try a thousand samples and say so."""
    if fault == 'config':
        cfg[KEY].dataset.pipeline[0].imdecode_backend = 'tiffile'
        reason = 'LoadImageFromFile fails (ValueError: '
    else:
        for path in (root / 'images/training').iterdir():
            path.write_bytes(b'text')
        reason = 'LoadImageFromFile fails ('
    for options in ({}, dict(skip_corrupt=True)):
        text = message(check, cfg, **options)
        assert text.startswith(
            'train_dataloader: none of 8 samples that were tried can be '
            f'loaded: {reason}'
        )
        assert '--skip-corrupt' not in text


def test_some_corrupt_files_are_for_the_run(cfg, root, check):
    for path in sorted((root / 'images/training').iterdir())[:5]:
        path.write_bytes(b'text')
    assert check(cfg) == []


def predict_only(cfg, tmp_path):
    cfg.test_evaluator = dict(
        type='IoUMetric', format_only=True, output_dir=str(tmp_path / 'out')
    )
    cfg.test_dataloader.dataset.data_prefix.pop('seg_map_path')
    cfg.test_dataloader.dataset.pipeline.pop(2)


def test_test_set_without_labels(cfg, check, tmp_path):
    predict_only(cfg, tmp_path)
    assert check(cfg, 'test_dataloader') == []


def test_measuring_without_labels(cfg, check, tmp_path):
    predict_only(cfg, tmp_path)
    cfg.test_evaluator = dict(type='IoUMetric')
    assert message(check, cfg, 'test_dataloader') == (
        'IoUMetric of test_evaluator compares with labels, but the pipeline '
        'of test_dataloader loads none; if you only want to predict, set '
        'test_evaluator.format_only=True, remove LoadAnnotations from '
        'test_pipeline and tta_pipeline, write '
        'test_dataloader.dataset.data_prefix=dict(_delete_=True, '
        'img_path=FOLDER), and pass --out.'
    )


@pytest.mark.parametrize('pipeline', ['test_pipeline', 'tta_pipeline'])
def test_loading_labels_that_are_not_there(cfg, check, tmp_path, pipeline):
    predict_only(cfg, tmp_path)
    cfg.test_dataloader.dataset.pipeline = cfg[pipeline]
    text = message(check, cfg, 'test_dataloader')
    assert text.startswith(
        'the pipeline of test_dataloader loads annotations, but its data set '
        'has none (data_prefix.seg_map_path is not set); if you only want to '
        'predict, '
    )


def test_saving_nowhere(cfg, check, tmp_path):
    predict_only(cfg, tmp_path)
    del cfg.test_evaluator.output_dir
    assert message(check, cfg, 'test_dataloader') == (
        'test_evaluator.format_only=True measures nothing and only saves '
        'predictions; say where with --out DIR.'
    )


class LoadOwn:
    """A user's loading transform, which needs no files."""

    def __call__(self, results):
        labels = np.zeros((8, 8), np.uint8)
        picture = np.zeros((8, 8, 3), np.uint8)
        return dict(results, img=picture, gt_seg_map=labels)


def test_own_loading_is_left_alone(cfg, root, built, tmp_path):
    cfg.test_dataloader.dataset.seg_map_suffix = '.nowhere'
    model, dataset, metrics = built(cfg, 'test_dataloader')
    dataset.pipeline.transforms = [LoadOwn()]
    assert check_samples('test_dataloader', model, dataset, metrics) == []


def test_check_of_a_head_with_one_output(cfg, built):
    for head in ('decode_head', 'auxiliary_head'):
        cfg.model[head].update(
            num_classes=1,
            out_channels=1,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
        )
    check = LabelCheck.of(built(cfg)[0])
    check.check_labels([0, 1, 255], dict(img_path='a.jpg'))
    with pytest.raises(LabelError, match='0 to 1 or 255.* a.jpg has 2;'):
        check.check_labels([0, 2], dict(img_path='a.jpg'))


def test_boxes_that_are_not_loaded():
    sample = DetDataSample(metainfo=dict(img_path='a.jpg'))
    sample.gt_instances = InstanceData()
    with pytest.raises(LabelError, match='with_bbox=True.* a.jpg comes with'):
        LabelCheck(3)(dict(data_samples=sample))
