"""Each way in which an annotation file may be wrong, in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL import Image
from pycocotools.coco import COCO

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
    text = message(cfg)
    assert 'bbox must be four numbers, x, y, width and height' in text
    assert f'the first is annotations[2], id 3, with bbox {box!r}.' in text


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


def annotations(edit, every=1):
    """An edit of every annotation, or of every so many."""

    def change_all(content):
        for entry in content['annotations'][::every]:
            edit(entry)

    return change_all


def corners(content):
    for entry in content['annotations']:
        x, y, w, h = entry['bbox']
        entry['bbox'] = [x, y, x + w, y + h]


def shares(content):
    for entry in content['annotations']:
        entry['bbox'] = [v / 64 for v in entry['bbox']]


@pytest.mark.parametrize(
    'edit, text',
    [
        (
            annotations(lambda a: a.pop('id'), 10),
            'annotations must have an id of their own; 7 of 69 annotations '
            'are wrong, the first is annotations[0] with none. Number them '
            'from 1',
        ),
        (
            annotations(lambda a: a.update(id=a['id'] - 1)),
            'must not be 0, which pycocotools takes for no match, so that the '
            'AP is too low; 1 of 69 annotations is wrong, the first is '
            'annotations[0], id 0, with that id.',
        ),
        (
            annotations(lambda a: a.update(id=a['id'] // 2 + 1)),
            'must have an id of their own; 68 of 69 annotations are wrong, '
            'the first is annotations[1], id 2, with one that comes again.',
        ),
        (
            annotations(lambda a: a.update(image_id=str(a['image_id'])), 2),
            'image_id must be an id of images; 35 of 69 annotations are '
            "wrong, the first is annotations[0], id 1, with image_id '0'. "
            'images have 0: give both the same type.',
        ),
        (
            annotations(lambda a: a.update(category_id=77), 3),
            'category_id must be an id of categories; 23 of 69 annotations '
            'are wrong, the first is annotations[0], id 1, with category_id '
            '77. Add what is missing to categories, or remove them.',
        ),
        (
            annotations(lambda a: a.update(bbox=[1, 2, float('nan'), 4]), 30),
            'finite, and no size below 0; 3 of 69 annotations are wrong, the '
            'first is annotations[0], id 1, with bbox [1, 2, nan, 4].',
        ),
        (
            annotations(lambda a: a.update(bbox=[1, 2, 3, float('inf')])),
            'with bbox [1, 2, 3, inf].',
        ),
        (
            annotations(lambda a: a['bbox'].__setitem__(2, -5), 69),
            'no size below 0; 1 of 69 annotations is wrong, the first is '
            'annotations[0], id 1, with bbox',
        ),
        (corners, 'All boxes look like x1, y1, x2, y2: subtract the first'),
        (shares, 'multiply by its width and height'),
        (
            annotations(lambda a: a.update(area=str(a['area'])), 69),
            'area must be a number of pixels; 1 of 69 annotations is wrong',
        ),
        (
            annotations(lambda a: a.update(iscrowd='no'), 69),
            'iscrowd must be 0 or 1; 1 of 69 annotations is wrong, the first '
            "is annotations[0], id 1, with iscrowd 'no'.",
        ),
        (
            annotations(lambda a: a.update(segmentation=[]), 10),
            'segmentation must be there, for masks are trained or measured; '
            '7 of 69 annotations are wrong, the first is annotations[0], id '
            '1, with none.',
        ),
        (
            annotations(lambda a: a.pop('segmentation'), 69),
            'segmentation must be there',
        ),
        (
            annotations(lambda a: a.update(segmentation=[1, 2, 3, 4, 5, 6])),
            'segmentation must be a list of polygons',
        ),
        (
            annotations(lambda a: a.update(segmentation=[[1, 2, 3, 4]]), 69),
            'polygons must have at least three points, x and y of each, as '
            'numbers; 1 of 69 annotations is wrong',
        ),
        (
            annotations(
                lambda a: a.update(
                    segmentation=dict(size=[32, 64], counts=[2048])
                ),
                69,
            ),
            'an RLE must have counts, and the size of its picture, [height, '
            'width]; 1 of 69 annotations is wrong, the first is '
            'annotations[0], id 1, with segmentation size [32, 64].',
        ),
        (
            annotations(
                lambda a: a.update(
                    segmentation=dict(size=[64, 64], counts=[9, 3])
                ),
                69,
            ),
            'the counts of an RLE must add up to the pixels of its size; 1 of '
            '69 annotations is wrong',
        ),
        (
            lambda c: c['images'][1].update(id=c['images'][0]['id']),
            'must list each image once, and 1 come again with the same id, '
            'the first 0',
        ),
        (
            lambda c: c['images'][2].update(width='64'),
            "must be whole numbers of pixels, got ('64', 64) in images[2], "
            'id 2',
        ),
        (
            lambda c: [i.update(width=128) for i in c['images']] and None,
            'and 16 of 16 that were looked at have others, the first is image '
            'id 0, ',
        ),
        (
            lambda c: c['images'][0].update(file_name='images\\1.jpg'),
            "write / for \\ in file_name, as other systems' paths have",
        ),
        (
            lambda c: c['categories'][1].update(name='disc'),
            'must have each category once, and 1 come again with the same '
            "name, the first 'disc'",
        ),
        (
            lambda c: c['categories'][1].update(id=c['categories'][0]['id']),
            'come again with the same id',
        ),
    ],
)
def test_what_others_export(cfg, root, edit, text):
    change(root, edit)
    assert text in message(cfg)


def test_mark_of_the_encoding(cfg, root):
    path = root / NAME
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    check_data(cfg, 'train_dataloader')


def test_annotations_of_images_that_are_not_listed(cfg, root):
    """As in a file from which images were taken out; all leave them out."""
    change(root, annotations(lambda a: a.update(image_id=999), 2))
    with pytest.warns(UserWarning, match='35 of 69 .* does not list'):
        check_data(cfg, 'train_dataloader')


def test_category_that_nothing_has(cfg, root, recwarn):
    """As Roboflow's first, the name of the project."""
    change(
        root, lambda c: c['categories'].insert(0, dict(id=99, name='shapes'))
    )
    check_data(cfg, 'train_dataloader')
    assert not [w for w in recwarn if w.category is UserWarning]


def test_turned_pictures(cfg, root):
    """A phone's picture lies on its side, and EXIF says so."""
    name = json.loads((root / NAME).read_text())['images'][0]['file_name']
    path = root / 'images/training' / name
    picture = Image.open(path).resize((64, 48))
    exif = Image.Exif()
    exif[274] = 6
    picture.save(path, exif=exif)
    size = dict(width=48, height=64)
    change(root, lambda c: c['images'][0].update(size))
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    check_data(cfg, 'train_dataloader')
    change(root, lambda c: c['images'][0].update(width=64, height=48))
    assert '48x64 in the picture when it is turned as its EXIF' in message(cfg)


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
            'must measure by the categories',
        ),
    ],
)
def test_metric_of_another_file(cfg, root, edit, text):
    mine = root / 'annotations/instances_validation.json'
    other = root / 'other.json'
    content = json.loads(mine.read_text())
    other.write_text(json.dumps(content))
    cfg.val_evaluator.ann_file = str(other)
    check_data(cfg, 'val_dataloader')
    edit(content)
    other.write_text(json.dumps(content))
    assert text in message(cfg, 'val_dataloader')


def test_classes_without_a_comma(cfg):
    cfg.train_dataloader.dataset.metainfo = dict(classes='disc')
    text = message(cfg)
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


def test_missing_iscrowd_is_none(cfg, root):
    """Perfect predictions get 1.0, by MMDetection's own metric."""
    path = root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    for entry in content['annotations']:
        entry.pop('iscrowd', None)
    path.write_text(json.dumps(content))
    check_data(cfg, 'val_dataloader')
    assert measure(path) == 1


def test_pycocotools_still_needs_that(root, monkeypatch):
    """If it fails, mmrep.compat.coco_eval can go."""
    path = root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    for entry in content['annotations']:
        entry.pop('iscrowd', None)
    path.write_text(json.dumps(content))
    create_index = COCO.createIndex
    create_index = getattr(create_index, '__wrapped__', create_index)
    monkeypatch.setattr(COCO, 'createIndex', create_index)
    with pytest.raises(KeyError, match='iscrowd'):
        measure(path)


def test_id_0_is_no_match_for_pycocotools(root):
    """Why it is refused."""
    path = root / 'annotations/instances_validation.json'
    content = json.loads(path.read_text())
    assert measure(path) == 1
    for entry in content['annotations']:
        entry['id'] -= 1
    path.write_text(json.dumps(content))
    assert measure(path) < 1
