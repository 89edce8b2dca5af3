"""Each way in which an annotation file may be wrong, in one line."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, init_default_scope

from mmrep.engine import check_data, load_config, set_data_root
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
NAME = 'annotations/instances_training.json'


@pytest.fixture
def root(shapes_root, tmp_path):
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


@pytest.fixture
def cfg(root):
    path = CONFIGS / 'cascade-mask-rcnn_replknet-tiny_shapes.py'
    cfg = load_config(str(path))
    set_data_root(cfg, str(root))
    return cfg


def change(root, edit):
    """Rewrite the training annotations."""
    path = root / NAME
    content = json.loads(path.read_text())
    content = edit(content) or content
    path.write_text(json.dumps(content))


def message(cfg, *loaders):
    with pytest.raises(UsageError) as error:
        check_data(cfg, *(loaders or ('train_dataloader',)))
    assert '\n' not in str(error.value)
    return str(error.value)


def test_sound_data(cfg, recwarn):
    check_data(cfg, 'train_dataloader', 'val_dataloader', 'test_dataloader')
    assert not [w for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize(
    'text, hint',
    [
        (b'not json', 'is not JSON: Expecting value'),
        (b'{"images": [', 'is not JSON'),
        (b'', 'is not JSON'),
        (b'\xff\xd8\xff\xe0', 'is not JSON'),
        (b'[1, 2]', 'got a list'),
        (b'{"a": 1}', 'has no images, annotations, categories, but (a)'),
        (
            b'{"images": [], "annotations": {}, "categories": []}',
            'has no annotations',
        ),
        (
            b'{"images": [{"id": 1}], "annotations": [], "categories": []}',
            'images[0] must have id, file_name, width, height, got (id)',
        ),
        (
            b'{"images": [], "annotations": [3], "categories": []}',
            'annotations[0] must have',
        ),
    ],
)
def test_other_forms(cfg, root, text, hint):
    (root / NAME).write_bytes(text)
    text = message(cfg)
    assert str(root / NAME) in text and 'COCO form' in text and hint in text


@pytest.mark.parametrize('box', [[1, 2, 3], 'box', [1, 2, '3', 4], None])
def test_wrong_box(cfg, root, box):
    change(root, lambda c: c['annotations'][2].update(bbox=box))
    assert 'annotations[2].bbox must be four numbers' in message(cfg)


def test_other_categories(cfg, root):
    change(root, lambda c: c['categories'][1].update(name='torus'))
    text = message(cfg)
    assert 'has (disc, ring, square, triangle, cross, star)' in text
    assert 'has (disc, torus, square, triangle, cross, star)' in text
    assert 'train_dataloader.dataset' in text and 'they differ' in text


def test_categories_in_another_order(cfg, root):
    """MMDetection would exchange the labels."""
    change(root, lambda c: c['categories'].reverse())
    assert 'in another order' in message(cfg)


def test_classes_of_coco(cfg):
    """A dataset without metainfo has COCO's 80 classes."""
    cfg.train_dataloader.dataset.pop('metainfo')
    text = message(cfg)
    assert '(person, bicycle, car, motorcycle, airplane, bus and 74' in text


def test_classes_from_a_file(cfg, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('disc\nring\nsquare\ntriangle\ncross\nstar\n')
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(path))
    check_data(cfg, 'train_dataloader')
    path.write_text('disc\nring\n')
    with pytest.warns(UserWarning, match='leaves out .square, triangle'):
        assert 'num_classes must be' in message(cfg)


def test_some_of_the_categories(cfg):
    """A subset is MMDetection's way to leave classes out; it is said."""
    cfg.train_dataloader.dataset.metainfo.classes = ('ring', 'star')
    for head in cfg.model.roi_head.bbox_head:
        head.num_classes = 2
    cfg.model.roi_head.mask_head.num_classes = 2
    with pytest.warns(UserWarning, match='leaves out .disc, square'):
        check_data(cfg, 'train_dataloader')


def test_number_of_classes(cfg):
    cfg.model.roi_head.bbox_head[1].num_classes = 80
    assert 'model.roi_head.bbox_head.1.num_classes must be' in message(cfg)


def test_missing_images(cfg, root):
    images = sorted((root / 'images/training').iterdir())
    images[3].unlink()
    text = message(cfg)
    assert '1 of 16 are missing' in text and str(images[3]) in text
    for path in images:
        path.unlink(missing_ok=True)
    assert 'all 16 are missing' in message(cfg)
    shutil.rmtree(images[0].parent)
    assert 'needs the folder' in message(cfg)


def test_images_in_subfolders(cfg, root):
    folder = root / 'images/training'
    (folder / 'a').mkdir()
    first = sorted(p for p in folder.iterdir() if p.is_file())[0]
    first.rename(folder / 'a' / first.name)
    assert '1 of 16' in message(cfg)
    change(
        root,
        lambda c: c['images'][0].update(file_name=f'a/{first.name}'),
    )
    check_data(cfg, 'train_dataloader')


@pytest.mark.parametrize(
    'edit',
    [
        lambda c: c['annotations'].clear(),
        lambda c: [a.update(iscrowd=1) for a in c['annotations']] and None,
        lambda c: [a.update(image_id=-1) for a in c['annotations']] and None,
        lambda c: (
            [a['bbox'].__setitem__(2, 0) for a in c['annotations']] and None
        ),
    ],
)
def test_no_boxes(cfg, root, edit):
    change(root, edit)
    assert 'must have boxes, and none of its' in message(cfg)


def test_no_images(cfg, root):
    change(root, lambda c: c['images'].clear())
    assert 'must list images' in message(cfg)


def test_no_masks(cfg, root):
    def edit(content):
        for entry in content['annotations']:
            entry['segmentation'] = []

    change(root, edit)
    assert 'must have masks' in message(cfg)
    for t in cfg.train_dataloader.dataset.pipeline:
        t.pop('with_mask', None)
    check_data(cfg, 'train_dataloader')


def test_predicting_needs_no_boxes(cfg, root):
    """Like COCO's test-dev, whose annotations are not published."""
    path = root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    path.write_text(json.dumps(content))
    assert 'must have boxes' in message(cfg, 'test_dataloader')
    del content['annotations']
    path.write_text(json.dumps(content))
    assert 'has no annotations' in message(cfg, 'test_dataloader')
    cfg.test_evaluator.format_only = True
    check_data(cfg, 'test_dataloader')
    init_default_scope('mmdet')
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 6


def test_annotation_file_of_the_metric(cfg):
    cfg.val_evaluator.ann_file = '/nowhere.json'
    check_data(cfg, 'train_dataloader')
    text = message(cfg, 'val_dataloader')
    assert 'CocoMetric of val_dataloader needs the annotation' in text
    assert "'/nowhere.json'" in text
