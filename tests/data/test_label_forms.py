"""Each form as its tool writes it, and every wrong input in one line."""

import json
from pathlib import Path

import numpy as np
import own_sets
import pytest
from own_sets import CLASSES, MAKERS, NAMES, box_of, class_of
from PIL import Image

from mmrep.data.coco.annotations import check_annotations
from mmrep.data.coco.file import CocoFile
from mmrep.data.convert import convert
from mmrep.data.splitting import split
from mmrep.errors import UsageError


def read(out: Path) -> dict:
    """Boxes by picture: class, box and segmentation; the files are sound."""
    found = {}
    for path in sorted((out / 'annotations').glob('*.json')):
        file = CocoFile(str(path), True)
        file.check_categories()
        file.check_images(str(out / 'images' / path.stem))
        check_annotations(file, masks=False)
        names = dict(
            zip([c['id'] for c in file.categories], file.names(), strict=True)
        )
        for image in file.images:
            stem = Path(image['file_name']).stem
            found[stem] = [
                (names[a['category_id']], a['bbox'], a['segmentation'])
                for a in file.annotations
                if a['image_id'] == image['id']
            ]
    return found


def check_boxes(found: dict, names=NAMES) -> None:
    assert sorted(found) == sorted(names)
    for i, name in enumerate(names):
        [(label, box, _)] = found[name]
        x1, y1, x2, y2 = box_of(i)
        assert label == CLASSES[class_of(i)]
        assert box == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.01)


@pytest.mark.parametrize('form', MAKERS)
def test_form(form, tmp_path):
    source = tmp_path / 'src'
    source.mkdir()
    MAKERS[form](source)
    result = convert(form, str(source), str(tmp_path / 'out'))
    check_boxes(read(tmp_path / 'out'))
    assert sum(result.pictures.values()) == len(NAMES)
    assert result.classes == dict(cat=6, dog=6)
    assert set(result.pictures) == {'train', 'val', 'test'}


def test_cvat_exports_coco_too(tmp_path):
    own_sets.make_coco(tmp_path / 'src')
    convert('cvat', str(tmp_path / 'src'), str(tmp_path / 'out'))
    check_boxes(read(tmp_path / 'out'))


def test_yolo_polygons(tmp_path):
    own_sets.make_yolo(tmp_path / 'src', polygons=True)
    convert('yolo', str(tmp_path / 'src'), str(tmp_path / 'out'))
    found = read(tmp_path / 'out')
    check_boxes(found)
    assert len(found['a b'][0][2][0]) == 8


def test_labels_in_another_folder(tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    (tmp_path / 'src/Annotations').rename(tmp_path / 'labels')
    convert(
        'voc',
        str(tmp_path / 'src'),
        str(tmp_path / 'out'),
        labels=str(tmp_path / 'labels'),
    )
    check_boxes(read(tmp_path / 'out'))


@pytest.mark.parametrize('form', ['labelme', 'cvat', 'coco', 'yolo'])
def test_polygons_to_label_maps(form, tmp_path):
    source = tmp_path / 'src'
    source.mkdir()
    if form == 'yolo':
        own_sets.make_yolo(source, polygons=True)
    else:
        MAKERS[form](source)
    convert(form, str(source), str(tmp_path / 'out'), to_masks=True)
    check_label_maps(tmp_path / 'out')
    palette = (tmp_path / 'out/palette.txt').read_text().splitlines()
    assert [line.split()[-1] for line in palette] == ['background', *CLASSES]


def check_label_maps(out: Path) -> None:
    for i, name in enumerate(NAMES):
        [path] = (out / 'annotations').glob(f'*/{name}.png')
        assert len([*(out / 'images').glob(f'*/{name}.jpg')]) == 1
        labels = np.asarray(Image.open(path))
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, own_sets.label_map(i))


@pytest.mark.parametrize('kind', ['coloured', 'palette', 'grey'])
def test_masks(kind, tmp_path):
    own_sets.make_masks(tmp_path / 'src', kind)
    result = convert('masks', str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert len(result.classes) == 3
    if kind == 'coloured':  # in the order of the colours: green, red
        assert [*result.classes][1] == 'colour_0_128_0'
        palette = (tmp_path / 'out/palette.txt').read_text().splitlines()
        (tmp_path / 'palette.txt').write_text(
            '\n'.join([palette[0], '128 0 0 cat', '0 128 0 dog'])
        )
        result = convert(
            'masks',
            str(tmp_path / 'src'),
            str(tmp_path / 'again'),
            palette=str(tmp_path / 'palette.txt'),
        )
        assert [*result.classes] == ['background', *CLASSES]
        check_label_maps(tmp_path / 'again')
    else:
        check_label_maps(tmp_path / 'out')


@pytest.mark.parametrize(
    'text',
    [
        '0 0 0\tvoid\n128 0 0\tcat\n0 128 0\tdog\n',
        'name,r,g,b\nvoid,0,0,0\ncat, 128, 0, 0\ndog,0,128,0\n',
        '# label:color_rgb:parts:actions\n'
        'ignored:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n',
    ],
)
def test_palette_files_of_tools(text, tmp_path):
    own_sets.make_masks(tmp_path / 'src')
    (tmp_path / 'src/labelmap.txt').write_text(text)
    result = convert('masks', str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert [*result.classes] == [*CLASSES]
    [path] = (tmp_path / 'out/annotations').glob('*/pic00.png')
    labels = np.asarray(Image.open(path))
    assert set(np.unique(labels)) == {class_of(2), 255}


@pytest.mark.parametrize('binary', [255, 1])
def test_binary_masks_beside_their_pictures(binary, tmp_path):
    for i, name in enumerate(NAMES):
        own_sets.save_picture(tmp_path / 'src' / f'{name}.jpg', i)
        mask = (own_sets.label_map(i) > 0) * np.uint8(binary)
        Image.fromarray(mask).save(tmp_path / 'src' / f'{name}_mask.png')
    result = convert('masks', str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert result.classes[[*result.classes][1]] == 400 * len(NAMES)


def test_mixed_pictures_get_one_suffix(tmp_path):
    own_sets.make_masks(tmp_path / 'src')
    path = tmp_path / 'src/images/pic00.jpg'
    Image.open(path).save(path.with_suffix('.bmp'))
    path.unlink()
    result = convert('masks', str(tmp_path / 'src'), str(tmp_path / 'out'))
    suffixes = {p.suffix for p in (tmp_path / 'out/images').glob('*/*')}
    assert suffixes == {'.png'}
    assert any('rewritten' in note for note in result.notes)


@pytest.mark.parametrize('stated', [(64, 48), (48, 64)])
def test_exif(stated, tmp_path):
    """Labels of the picture as shown, or of the pixels in the file."""
    source = tmp_path / 'src'
    own_sets.make_voc(source, NAMES[:3])
    own_sets.save_picture(source / 'JPEGImages/pic00.jpg', 2, orientation=6)
    x1, y1, x2, y2 = box_of(2)
    # the picture was turned by a quarter against the clock
    box = (x1, y1, x2, y2) if stated[0] == 64 else (y1, 64 - x2, y2, 64 - x1)
    own_sets.save_voc(source / 'Annotations/pic00.xml', 2, stated, box)
    convert('voc', str(source), str(tmp_path / 'out'))
    check_boxes(read(tmp_path / 'out'), NAMES[:3])
    own_sets.save_voc(source / 'Annotations/pic00.xml', 2, (10, 10))
    result = convert('voc', str(source), str(tmp_path / 'other'))
    assert '10x10' in str(result.notes) and len(read(tmp_path / 'other')) == 2


def test_splits_of_folders(tmp_path):
    """Roboflow's: train, valid and test, each with images and labels."""
    own_sets.make_yolo(tmp_path / 'all')
    for i, name in enumerate(NAMES):
        split_ = ('train', 'valid', 'test')[i % 3]
        for kind, suffix in (('images', 'jpg'), ('labels', 'txt')):
            place = tmp_path / 'src' / split_ / kind / f'{name}.{suffix}'
            place.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f'all/{kind}/{name}.{suffix}').rename(place)
    (tmp_path / 'all/data.yaml').rename(tmp_path / 'src/data.yaml')
    result = convert('yolo', str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert result.pictures == dict(train=4, val=4, test=4)
    check_boxes(read(tmp_path / 'out'))


def test_coco_of_roboflow(tmp_path):
    """A file in each split's folder, and a first category without objects."""
    own_sets.make_coco(tmp_path / 'all')
    path = tmp_path / 'all/annotations/instances_default.json'
    content = json.loads(path.read_text())
    for category in content['categories']:
        category['supercategory'] = 'pets'
    content['categories'].insert(
        0, dict(id=0, name='pets', supercategory='none')
    )
    for part, name in enumerate(('train', 'valid')):
        images = content['images'][part::2]
        ids = [image['id'] for image in images]
        folder = tmp_path / 'src' / name
        folder.mkdir(parents=True)
        for image in images:
            file = image['file_name']
            (tmp_path / 'all/images' / file).rename(folder / file)
        annotations = [
            a for a in content['annotations'] if a['image_id'] in ids
        ]
        (folder / '_annotations.coco.json').write_text(
            json.dumps(dict(content, images=images, annotations=annotations))
        )
    result = convert('coco', str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert result.pictures == dict(train=6, val=6)
    assert result.classes == dict(cat=6, dog=6)
    check_boxes(read(tmp_path / 'out'))


def test_two_forms_in_one_folder(tmp_path):
    own_sets.make_yolo(tmp_path / 'src')
    for i, name in enumerate(NAMES):
        own_sets.save_voc(tmp_path / 'src/xml' / f'{name}.xml', i)
    for form in ('voc', 'yolo'):
        convert(form, str(tmp_path / 'src'), str(tmp_path / form))
        check_boxes(read(tmp_path / form))


def test_lists_of_voc(tmp_path):
    """ImageSets say the splits; what they do not name is split by name."""
    source = own_sets.make_voc(tmp_path / 'src')
    lists = source / 'ImageSets/Main'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('\n'.join(NAMES[:6]) + '\n')
    (lists / 'val.txt').write_text('\n'.join(NAMES[6:11]) + '\n')
    result = convert('voc', str(source), str(tmp_path / 'out'))
    names = {p.stem for p in (tmp_path / 'out/images/train').iterdir()}
    assert set(NAMES[:6]) <= names <= {*NAMES[:6], NAMES[11]}
    assert sum(result.pictures.values()) == 12
    assert 'in no split of the source: 1' in str(result.notes)


def test_split_is_stable():
    names = [f'{i}' for i in range(300)]
    few, _ = split(names[:200], (0.8, 0.1, 0.1), 0)
    more, moved = split(names, (0.8, 0.1, 0.1), 0)
    assert all(more[name] == few[name] for name in few) and not moved
    assert 0.7 < list(more.values()).count('train') / 300 < 0.9
    assert split(names, (0.8, 0.1, 0.1), 1)[0] != more


@pytest.mark.parametrize(
    ('number', 'ratios', 'counts'),
    [
        (1, (0.8, 0.1, 0.1), (1, 0, 0)),
        (2, (0.8, 0.1, 0.1), (1, 1, 0)),
        (4, (0.8, 0.1, 0.1), (2, 1, 1)),
        (12, (0.8, 0.1, 0.1), (10, 1, 1)),
        (20, (0.8, 0.1, 0.1), (16, 2, 2)),
        (20, (0.75, 0.25, 0), (15, 5, 0)),
        (20, (1, 0, 0), (20, 0, 0)),
        (199, (0.8, 0.1, 0.1), (159, 20, 20)),
    ],
)
def test_small_splits_are_nearest_to_the_shares(number, ratios, counts):
    names = [f'{i}' for i in range(number)]
    found, moved = split(names, ratios, 0)
    sizes = [list(found.values()).count(s) for s in ('train', 'val', 'test')]
    assert sizes == [*counts] and len(moved) < number / 3 + 2
    assert split(names[::-1], ratios, 0)[0] == found  # the order is no matter
    assert number < 4 or split(names, (0.8, 0.1, 0.1), 1)[0] != found


def test_what_is_left_out_is_told(tmp_path):
    source = own_sets.make_voc(tmp_path / 'src')
    labels = source / 'Annotations'
    own_sets.save_picture(source / 'JPEGImages/alone.jpg', 0)
    own_sets.save_voc(labels / 'nothing.xml', 0)
    (labels / 'pic00.xml').write_text('<annotation><object>')
    own_sets.save_voc(labels / 'pic01.xml', 3, box=(70, 5, 90, 20))
    own_sets.save_voc(labels / 'pic02.xml', 4, box=(50, 5, 90, 20))
    (labels / 'pic03.xml').write_text(
        '<!DOCTYPE a [<!ENTITY b "bbb">]><annotation>&b;</annotation>'
    )
    result = convert('voc', str(source), str(tmp_path / 'out'))
    notes = '\n'.join(result.notes)
    for text in (
        'pictures without labels skipped',
        'label files without a picture skipped: 1',
        'wrong label files skipped: 2',
        'is not valid XML',
        'outside the picture: 1',
        'boxes cut at the border of the picture: 1',
    ):
        assert text in notes
    found = read(tmp_path / 'out')
    assert not {'pic00', 'pic03', 'alone'} & set(found)
    assert found['pic01'] == [] and found['pic02'][0][1] == [50, 5, 14, 15]
    kept = convert(
        'voc', str(source), str(tmp_path / 'all'), keep_unlabelled=True
    )
    assert read(tmp_path / 'all')['alone'] == []
    assert 'pic00' not in read(tmp_path / 'all') and kept.notes


def voc(folder):
    return own_sets.make_voc(folder)


def empty(folder):
    folder.mkdir()


def only_pictures(folder):
    own_sets.save_picture(folder / 'a.jpg', 0)


def only_labels(folder):
    own_sets.save_voc(folder / 'a.xml', 0)


def broken(folder):
    own_sets.save_picture(folder / 'a.jpg', 0)
    (folder / 'a.xml').write_text('<annotation>')


def entity(folder):
    own_sets.save_picture(folder / 'a.jpg', 0)
    (folder / 'a.xml').write_text(
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        '<annotation>&b;</annotation>'
    )


def other_names(folder):
    own_sets.save_picture(folder / 'a.jpg', 0)
    own_sets.save_voc(folder / 'b.xml', 0)


def no_json(folder):
    own_sets.save_picture(folder / 'a.jpg', 0)
    (folder / 'a.json').write_text('{"shapes": [')


def yolo_line(text):
    def make(folder):
        own_sets.save_picture(folder / 'a.jpg', 0)
        (folder / 'a.txt').write_text(text)
        (folder / 'classes.txt').write_text('cat\ndog\n')

    return make


def nameless(folder):
    yolo_line('0 .5 .5 .1 .1')(folder)
    (folder / 'classes.txt').unlink()


def jpeg_masks(folder):
    own_sets.make_masks(folder)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'masks/pic00.png')


def other_colours(folder):
    own_sets.make_masks(folder)
    (folder / 'palette.txt').write_text('0 0 0 ground\n128 0 0 cat\n')


@pytest.mark.parametrize(
    ('form', 'make', 'text'),
    [
        ('yolo', voc, 'looks like voc'),
        ('labelme', voc, 'looks like voc'),
        ('voc', empty, 'must hold pictures'),
        ('voc', only_pictures, 'holds none'),
        ('voc', only_labels, 'must hold pictures'),
        ('voc', other_names, 'must have the names of their pictures'),
        ('voc', broken, 'is not valid XML'),
        ('voc', entity, 'declares the entity'),
        ('labelme', no_json, 'is not valid JSON'),
        ('yolo', nameless, 'data.yaml or classes.txt'),
        ('yolo', yolo_line('2 .5 .5 .1 .1'), 'the last name is 1 (dog)'),
        ('yolo', yolo_line('0 32 24 10 10'), 'shares of the picture'),
        ('yolo', yolo_line('0 .5 .5 .1'), 'has 3 numbers'),
        ('yolo', yolo_line('cat .5 .5 .1 .1'), "got 'cat'"),
        ('masks', voc, 'only pictures were found'),
        ('masks', jpeg_masks, 'one colour for each class'),
        ('masks', other_colours, 'but has 1 more, (0, 128, 0), in '),
    ],
)
def test_wrong_source(form, make, text, tmp_path):
    make(tmp_path / 'src')
    with pytest.raises(UsageError) as caught:
        convert(form, str(tmp_path / 'src'), str(tmp_path / 'out'))
    assert text in str(caught.value) and '\n' not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_wrong_places(tmp_path):
    source = str(own_sets.make_voc(tmp_path / 'src'))
    (tmp_path / 'taken').mkdir()
    for out, text in (
        (source, 'another folder than SRC'),
        (f'{source}/out', 'outside SRC'),
        (str(tmp_path / 'taken'), 'must not exist yet'),
        ('/proc/out', 'cannot be'),
    ):
        with pytest.raises(UsageError, match=text):
            convert('voc', source, out)
    with pytest.raises(UsageError, match='must be a folder'):
        convert('voc', source + 'x', str(tmp_path / 'out'))
    with pytest.raises(UsageError, match="'dog' of .* is not among cat"):
        convert('voc', source, str(tmp_path / 'out'), classes=['cat'])
    with pytest.raises(UsageError, match='only boxes'):
        convert('voc', source, str(tmp_path / 'out'), to_masks=True)
    assert not (tmp_path / 'out').exists()


def test_a_picture_that_cannot_be_copied_leaves_nothing(tmp_path, monkeypatch):
    source = str(own_sets.make_voc(tmp_path / 'src'))

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('shutil.copyfile', full)
    with pytest.raises(UsageError, match='No space left'):
        convert('voc', source, str(tmp_path / 'out'))
    assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_shapes_of_labelme_and_cvat(tmp_path):
    """A circle, a turned box and a mask are where they are drawn."""
    folder = tmp_path / 'src'
    own_sets.save_picture(folder / 'a.jpg', 0)
    shapes = [
        dict(label='c', shape_type='circle', points=[[20, 20], [30, 20]]),
        dict(label='r', shape_type='rectangle', points=[[30, 30], [10, 20]]),
        dict(label='p', shape_type='point', points=[[3, 3]]),
    ]
    (folder / 'a.json').write_text(json.dumps(dict(shapes=shapes)))
    result = convert('labelme', str(folder), str(tmp_path / 'a'))
    boxes = {label: box for label, box, _ in read(tmp_path / 'a')['a']}
    assert boxes['c'] == pytest.approx([10, 10, 20, 20], abs=0.1)
    assert boxes['r'] == [10, 20, 20, 10] and len(boxes) == 2
    assert 'a point has no area' in str(result.notes)

    folder = tmp_path / 'cvat'
    own_sets.save_picture(folder / 'images/a.jpg', 0)
    (folder / 'annotations.xml').write_text(
        '<annotations><image id="0" name="a.jpg" width="64" height="48">'
        '<box label="b" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>'
        '<mask label="m" rle="2,3,1" left="5" top="6" width="3" height="2"/>'
        '</image></annotations>'
    )
    convert('cvat', str(folder), str(tmp_path / 'b'))
    found = {
        label: (box, seg) for label, box, seg in read(tmp_path / 'b')['a']
    }
    assert found['b'][0] == pytest.approx([15, 5, 10, 20])
    assert found['m'][0] == [5, 6, 3, 2]
    convert('cvat', str(folder), str(tmp_path / 'c'), to_masks=True)
    [path] = (tmp_path / 'c/annotations').glob('*/a.png')
    labels = np.asarray(Image.open(path))
    np.testing.assert_array_equal(labels[6:8, 5:8], [[0, 0, 2], [2, 2, 0]])
