"""Annotation files that do not fit the config, the images or the metric."""

import json
import shutil

import pytest
import torch
from coco_files import NAME, annotations, change, message
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL import Image
from pycocotools.coco import COCO

from mmrep.data.coco.file import CocoFile
from mmrep.engine import check_data


def test_sound_data(coco_cfg, recwarn):
    check_data(
        coco_cfg, 'train_dataloader', 'val_dataloader', 'test_dataloader'
    )
    assert not [w for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize(
    'text, hint',
    [
        (b'not json', 'is not JSON: Expecting value'),
        (b'{"images": [', 'is not JSON'),
        (b'', 'is not JSON'),
        (b'\xff\xd8\xff\xe0', 'is not JSON'),
        (b'[' * 100_000, 'is not JSON: maximum recursion depth'),
        (b'\xef\xbb\xbf{}', 'save it as UTF-8 without one.'),
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
def test_other_forms(coco_cfg, coco_root, text, hint):
    (coco_root / NAME).write_bytes(text)
    text = message(coco_cfg)
    assert (
        str(coco_root / NAME) in text
        and 'COCO format' in text
        and hint in text
    )


@pytest.mark.parametrize('box', [[1, 2, 3], 'box', [1, 2, '3', 4], None])
def test_wrong_box(coco_cfg, coco_root, box):
    change(coco_root, lambda c: c['annotations'][2].update(bbox=box))
    text = message(coco_cfg)
    assert 'bbox must be four numbers: x, y, width and height' in text
    assert f'the first is annotations[2], id 3, with bbox {box!r}.' in text


def test_other_categories(coco_cfg, coco_root):
    change(coco_root, lambda c: c['categories'][1].update(name='torus'))
    text = message(coco_cfg)
    assert 'has (disc, ring, square, triangle, cross, star)' in text
    assert 'has (disc, torus, square, triangle, cross, star)' in text
    assert 'train_dataloader.dataset' in text and 'they differ' in text


def test_categories_in_another_order(coco_cfg, coco_root):
    """MMDetection would exchange the labels."""
    change(coco_root, lambda c: c['categories'].reverse())
    assert 'in another order' in message(coco_cfg)


def test_classes_of_coco(coco_cfg):
    """A dataset without metainfo has COCO's 80 classes."""
    coco_cfg.train_dataloader.dataset.pop('metainfo')
    text = message(coco_cfg)
    assert '(person, bicycle, car, motorcycle, airplane, bus and 74' in text


def test_classes_from_a_file(coco_cfg, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('disc\nring\nsquare\ntriangle\ncross\nstar\n')
    coco_cfg.train_dataloader.dataset.metainfo = dict(classes=str(path))
    check_data(coco_cfg, 'train_dataloader')
    path.write_text('disc\nring\n')
    with pytest.warns(UserWarning, match='skips .square, triangle'):
        assert 'num_classes must be' in message(coco_cfg)


def test_some_of_the_categories(coco_cfg):
    """A subset is MMDetection's way to leave classes out; it is said."""
    coco_cfg.train_dataloader.dataset.metainfo.classes = ('ring', 'star')
    for head in coco_cfg.model.roi_head.bbox_head:
        head.num_classes = 2
    coco_cfg.model.roi_head.mask_head.num_classes = 2
    with pytest.warns(UserWarning, match='skips .disc, square'):
        check_data(coco_cfg, 'train_dataloader')


def test_no_file(coco_cfg):
    coco_cfg.train_dataloader.dataset.ann_file = ''
    assert message(coco_cfg) == (
        'train_dataloader.dataset.ann_file must be a file in COCO format, '
        "but is ''."
    )


def test_number_of_classes(coco_cfg):
    coco_cfg.model.roi_head.bbox_head[1].num_classes = 80
    assert 'model.roi_head.bbox_head.1.num_classes must be' in message(
        coco_cfg
    )


def test_missing_images(coco_cfg, coco_root):
    images = sorted((coco_root / 'images/training').iterdir())
    images[3].unlink()
    text = message(coco_cfg)
    assert '1 of 16 images is missing' in text and str(images[3]) in text
    for path in images:
        path.unlink(missing_ok=True)
    assert 'all 16 images are missing' in message(coco_cfg)
    shutil.rmtree(images[0].parent)
    assert 'needs the folder' in message(coco_cfg)


def test_images_in_subfolders(coco_cfg, coco_root):
    folder = coco_root / 'images/training'
    (folder / 'a').mkdir()
    first = sorted(p for p in folder.iterdir() if p.is_file())[0]
    first.rename(folder / 'a' / first.name)
    assert '1 of 16' in message(coco_cfg)
    change(
        coco_root,
        lambda c: c['images'][0].update(file_name=f'a/{first.name}'),
    )
    check_data(coco_cfg, 'train_dataloader')


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
def test_no_boxes(coco_cfg, coco_root, edit):
    change(coco_root, edit)
    assert 'must have boxes, but none of its' in message(coco_cfg)


def test_no_images(coco_cfg, coco_root):
    change(coco_root, lambda c: c['images'].clear())
    assert 'must list images' in message(coco_cfg)


def test_no_masks(coco_cfg, coco_root):
    def edit(content):
        for entry in content['annotations']:
            entry['segmentation'] = []

    change(coco_root, edit)
    assert 'must have masks' in message(coco_cfg)
    for t in coco_cfg.train_dataloader.dataset.pipeline:
        t.pop('with_mask', None)
    check_data(coco_cfg, 'train_dataloader')


def test_predicting_needs_no_boxes(coco_cfg, coco_root):
    """Like COCO's test-dev, whose annotations are not published."""
    path = coco_root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    path.write_text(json.dumps(content))
    assert 'must have boxes' in message(coco_cfg, 'test_dataloader')
    del content['annotations']
    path.write_text(json.dumps(content))
    assert 'has no annotations' in message(coco_cfg, 'test_dataloader')
    coco_cfg.test_evaluator.format_only = True
    check_data(coco_cfg, 'test_dataloader')
    init_default_scope('mmdet')
    assert len(DATASETS.build(coco_cfg.test_dataloader.dataset)) == 6


def test_annotation_file_of_the_metric(coco_cfg):
    coco_cfg.val_evaluator.ann_file = '/nowhere.json'
    check_data(coco_cfg, 'train_dataloader')
    text = message(coco_cfg, 'val_dataloader')
    assert 'CocoMetric of val_dataloader needs the annotation' in text
    assert "'/nowhere.json'" in text


def test_annotations_of_images_that_are_not_listed(coco_cfg, coco_root):
    """As in a file from which images were taken out; all leave them out."""
    change(coco_root, annotations(lambda a: a.update(image_id=999), 2))
    with pytest.warns(UserWarning, match='35 of 69 .* does not list'):
        check_data(coco_cfg, 'train_dataloader')


def test_category_that_nothing_has(coco_cfg, coco_root, recwarn):
    """As Roboflow's first, the name of the project."""
    change(
        coco_root,
        lambda c: c['categories'].insert(0, dict(id=99, name='shapes')),
    )
    check_data(coco_cfg, 'train_dataloader')
    assert not [w for w in recwarn if w.category is UserWarning]


def test_turned_pictures(coco_cfg, coco_root):
    """A phone's picture lies on its side, and EXIF says so."""
    name = json.loads((coco_root / NAME).read_text())['images'][0]['file_name']
    path = coco_root / 'images/training' / name
    picture = Image.open(path).resize((64, 48))
    exif = Image.Exif()
    exif[274] = 6
    picture.save(path, exif=exif)
    size = dict(width=48, height=64)
    change(coco_root, lambda c: c['images'][0].update(size))
    coco_cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    check_data(coco_cfg, 'train_dataloader')
    change(coco_root, lambda c: c['images'][0].update(width=64, height=48))
    assert '48x64 in the picture when it is rotated as its EXIF' in message(
        coco_cfg
    )


@pytest.mark.parametrize(
    'edit, text',
    [
        (lambda c: c['images'].pop(), 'differs in 1 of them, the first with'),
        (
            lambda c: c['images'][0].update(file_name='x.jpg'),
            'differs in 1 of them',
        ),
        (
            lambda c: c['categories'].reverse(),
            'must use the categories',
        ),
    ],
)
def test_metric_of_another_file(coco_cfg, coco_root, edit, text):
    mine = coco_root / 'annotations/instances_validation.json'
    other = coco_root / 'other.json'
    content = json.loads(mine.read_text())
    other.write_text(json.dumps(content))
    coco_cfg.val_evaluator.ann_file = str(other)
    check_data(coco_cfg, 'val_dataloader')
    edit(content)
    other.write_text(json.dumps(content))
    assert text in message(coco_cfg, 'val_dataloader')


@pytest.mark.parametrize('rank', [0, 1])
def test_rank_0_alone_reads_the_files(coco_cfg, monkeypatch, rank):
    read = []

    class Recorded(CocoFile):
        def __init__(self, path, needs_boxes):
            read.append(path)
            super().__init__(path, needs_boxes)

    monkeypatch.setattr('mmrep.data.coco.CocoFile', Recorded)
    monkeypatch.setattr(
        'mmrep.runner.distributed.is_main_process', lambda: rank == 0
    )
    check_data(coco_cfg, 'train_dataloader')
    assert len(read) == (1 if rank == 0 else 0)


def test_annotations_of_a_metric_s_own_file(coco_cfg, coco_root):
    """They are what is measured by, and are checked likewise."""
    mine = coco_root / 'annotations/instances_validation.json'
    other = coco_root / 'other.json'
    content = json.loads(mine.read_text())
    coco_cfg.val_evaluator.ann_file = str(other)
    del content['annotations'][-1]
    other.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match='CocoMetric uses the .* has'):
        check_data(coco_cfg, 'val_dataloader')
    content['annotations'][0]['id'] = 0
    other.write_text(json.dumps(content))
    text = message(coco_cfg, 'val_dataloader')
    assert str(other) in text and 'ids of annotations must not be 0' in text


def test_classes_without_a_comma(coco_cfg):
    coco_cfg.train_dataloader.dataset.metainfo = dict(classes='disc')
    text = message(coco_cfg)
    assert "got 'disc'" in text and "('disc',), with a comma" in text


def perfect(content):
    """Predictions that are the truth."""
    results = []
    for image in content['images']:
        own = [
            a for a in content['annotations'] if a['image_id'] == image['id']
        ]
        boxes = torch.tensor([a['bbox'] for a in own]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        results.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.ones(len(own)),
                    labels=torch.tensor(
                        [a['category_id'] - 1 for a in own], dtype=torch.long
                    ),
                ),
            )
        )
    return results


def measure(path):
    init_default_scope('mmdet')
    metric = METRICS.build(dict(type='CocoMetric', ann_file=str(path)))
    content = json.loads(path.read_text())
    names = [c['name'] for c in content['categories']]
    metric.dataset_meta = dict(classes=names)
    results = perfect(content)
    metric.process({}, results)
    return metric.evaluate(len(results))['coco/bbox_mAP']


def test_missing_iscrowd_is_none(coco_cfg, coco_root):
    """Perfect predictions get 1.0, by MMDetection's own metric."""
    path = coco_root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    for entry in content['annotations']:
        entry.pop('iscrowd', None)
    path.write_text(json.dumps(content))
    check_data(coco_cfg, 'val_dataloader')
    assert measure(path) == 1


def test_pycocotools_still_needs_that(coco_root, monkeypatch):
    """If it fails, mmrep.compat.coco_eval can go."""
    path = coco_root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    for entry in content['annotations']:
        entry.pop('iscrowd', None)
    path.write_text(json.dumps(content))
    create_index = COCO.createIndex
    create_index = getattr(create_index, '__wrapped__', create_index)
    monkeypatch.setattr(COCO, 'createIndex', create_index)
    with pytest.raises(KeyError, match='iscrowd'):
        measure(path)


def test_id_0_is_no_match_for_pycocotools(coco_root):
    """Why it is refused."""
    path = coco_root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    assert measure(path) == 1
    for entry in content['annotations']:
        entry['id'] -= 1
    path.write_text(json.dumps(content))
    assert measure(path) < 1
