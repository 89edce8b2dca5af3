"""Mistakes in data sets that would give wrong labels, each in one line."""

import json
import shutil

import numpy as np
import own_sets
import pytest
from PIL import Image

from mmrep.data.convert import convert
from mmrep.data.survey import survey
from mmrep.errors import UsageError


def run(form, folder, **options):
    """Convert ``src`` of a folder into ``out``; the files of the result."""
    result = convert(form, str(folder / 'src'), str(folder / 'out'), **options)
    files = {}
    for path in (folder / 'out/annotations').glob('*.json'):
        content = json.loads(path.read_text())
        for image in content['images']:
            files[image['file_name']] = [
                a['bbox'][:2]
                for a in content['annotations']
                if a['image_id'] == image['id']
            ]
    return result, files


def refused(form, folder, *texts, **options):
    """The conversion is refused in one line; nothing is left of it."""
    with pytest.raises(UsageError) as caught:
        run(form, folder, **options)
    line = str(caught.value)
    assert '\n' not in line
    for text in texts:
        assert text in line, line
    assert not [p for p in folder.iterdir() if p.name != 'src']


def save_labels(form, path, i, picture):
    """A label file of one picture."""
    if form == 'voc':
        own_sets.save_voc(path.with_suffix('.xml'), i)
        text = path.with_suffix('.xml').read_text()
        name = f'<filename>{path.stem}.jpg<'
        assert name in text
        text = text.replace(name, f'<filename>{picture}<')
        path.with_suffix('.xml').write_text(text)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = dict(label='cat', points=own_sets.outline(i))
        path.with_suffix('.json').write_text(
            json.dumps(dict(imagePath=picture, shapes=[shape]))
        )


@pytest.mark.parametrize('form', ['voc', 'labelme'])
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_pictures_of_one_stem(form, suffix, tmp_path):
    """The label file names the picture in full."""
    source = tmp_path / 'src'
    own_sets.save_picture(source / 'a.jpg', 0)
    own_sets.save_picture(source / 'a.png', 1)
    save_labels(form, source / 'a', 3, f'a{suffix}')
    _, files = run(form, tmp_path)
    assert files == {f'a{suffix}': [[11, 9]]}


@pytest.mark.parametrize('form', ['voc', 'labelme', 'yolo', 'masks'])
def test_labels_that_fit_two_pictures(form, tmp_path):
    source = tmp_path / 'src'
    names = ['images/a.jpg', 'images/a.png']
    for i, name in enumerate(names):
        own_sets.save_picture(source / name, i)
    if form == 'yolo':
        (source / 'a.txt').write_text('0 .5 .5 .2 .2')
        (source / 'classes.txt').write_text('cat')
    elif form == 'masks':
        (source / 'images/a.png').rename(source / 'images/a.bmp')
        names[1] = 'images/a.bmp'
        (source / 'masks').mkdir()
        mask = Image.fromarray(own_sets.label_map(0))
        mask.save(source / 'masks/a.png')
    else:
        save_labels(form, source / 'a', 3, 'b.tif')
    refused(form, tmp_path, 'must belong to one picture', *names)


@pytest.mark.parametrize('form', ['voc', 'labelme'])
def test_one_name_in_two_folders(form, tmp_path):
    source = tmp_path / 'src'
    for i, name in enumerate(['x/a.jpg', 'y/a.jpg']):
        own_sets.save_picture(source / name, i)
    save_labels(form, source / 'y/a', 3, 'a.jpg')
    _, files = run(form, tmp_path)
    assert files == {'y/a.jpg': [[11, 9]]}
    shutil.rmtree(tmp_path / 'out')
    (source / 'z').mkdir()
    for path in [*(source / 'y').glob('a.[xj][ms]*[nl]')]:
        path.rename(source / 'z' / path.name)
    refused(form, tmp_path, 'x/a.jpg', 'y/a.jpg', 'z/a.')


def test_two_label_files_of_a_picture(tmp_path):
    """Labels whose picture is absent may fit one in another folder."""
    source = tmp_path / 'src'
    own_sets.save_picture(source / 'y/a.jpg', 0)
    for folder in ('x', 'y'):
        save_labels('voc', source / folder / 'a', 3, 'a.jpg')
    refused('voc', tmp_path, 'one label file', 'x/a.xml', 'y/a.xml')


def test_coco_names_its_pictures_in_full(tmp_path):
    source = own_sets.make_coco(tmp_path / 'src')
    path = source / 'annotations/instances_default.json'
    content = json.loads(path.read_text())
    for i, image in enumerate(content['images']):
        name = image['file_name'] = ('a.jpg', 'a.png', 'x/a.png')[i % 3]
        own_sets.save_picture(source / 'images' / name, i)
    content['images'] = content['images'][:3]
    content['annotations'] = content['annotations'][:3]
    path.write_text(json.dumps(content))
    result, files = run('coco', tmp_path)
    assert files == {
        'a.jpg': [[8, 6]],
        'a.png': [[9, 7]],
        'x/a.png': [[10, 8]],
    }
    assert sum(result.pictures.values()) == 3
    shutil.rmtree(tmp_path / 'out')
    # but their label maps would have the same name
    refused(
        'coco', tmp_path, 'must have different names', 'a.png', to_masks=True
    )


def coco(change):
    def make(source):
        own_sets.make_coco(source)
        path = source / 'annotations/instances_default.json'
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return make


def yolo_names(file, text):
    def make(source):
        own_sets.make_yolo(source)
        (source / 'data.yaml').unlink()
        (source / file).write_text(text)

    return make


def palette(name, text):
    def make(source):
        own_sets.make_masks(source)
        (source / name).write_text(text)

    return make


COLOURS = ['0 0 0 ground', '128 0 0 cat', '0 128 0 dog']


def coloured(*lines):
    return palette('palette.txt', '\n'.join([*COLOURS, *lines]))


@pytest.mark.parametrize(
    ('form', 'make', 'texts'),
    [
        (
            'yolo',
            yolo_names('classes.txt', 'cat\ndog\ncat\ndog\ncow'),
            ['classes.txt must name each class once, but has cat, dog more'],
        ),
        (
            'yolo',
            yolo_names('data.yaml', 'names: {0: cat, 1: cat}'),
            ['data.yaml must name each class once, but has cat more'],
        ),
        (
            'masks',
            coloured('9 9 9 cat'),
            ['palette.txt must name each class once, but has cat more'],
        ),
        (
            'masks',
            palette('palette.json', '{"cat": [0, 0, 0], "cat": [0, 128, 0]}'),
            ['palette.json must name each class once, but has cat more'],
        ),
        (
            'coco',
            coco(lambda c: c['categories'][1].update(name='cat')),
            ['must list each category once', 'same name: cat; merge them'],
        ),
        (
            'coco',
            coco(lambda c: [i.update(id=0) for i in c['images']]),
            ['must list each image once', '11 of them have the same id'],
        ),
    ],
)
def test_names_and_ids_differ(form, make, texts, tmp_path):
    make(tmp_path / 'src')
    refused(form, tmp_path, *texts)


def test_classes_given_twice(tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    refused(
        'voc',
        tmp_path,
        '--classes must name each class once, but has cat more than once',
        classes=['cat', 'dog', 'cat'],
    )


def test_a_project_with_the_name_of_its_class(tmp_path):
    """Roboflow lists the project as a category without objects."""
    project = dict(id=0, name='cat', supercategory='none')
    coco(lambda c: c['categories'].insert(0, project))(tmp_path / 'src')
    result, _ = run('coco', tmp_path)
    assert result.classes == dict(cat=6, dog=6)


@pytest.mark.parametrize(
    ('make', 'texts'),
    [
        (coloured('300 0 0 cow'), ["line 4 is '300 0 0 cow'"]),
        (coloured('1 2 cow', '1 2 3'), ["4 is '1 2 cow', line 5 is '1 2 3'"]),
        (palette('palette.txt', '# nothing'), ['has no such line']),
        (
            coloured('128 0 0 cow', '0 0 0 void'),
            ['has (0, 0, 0), (128, 0, 0) more than once'],
        ),
        (
            palette('palette.json', '{"cat": [0, 128], "dog": 3}'),
            ["'cat' is [0, 128], 'dog' is 3"],
        ),
        (palette('palette.json', '{'), ['must be a dict', 'is not (Expect']),
        (
            palette('palette.txt', '0 0 0 void\n128 0 0 ignore'),
            ['must name a class, but has only pixels to ignore: void, ignore'],
        ),
    ],
)
def test_palette_errors_say_what_came(make, texts, tmp_path):
    make(tmp_path / 'src')
    refused('masks', tmp_path, 'palette.', *texts)


@pytest.mark.parametrize(('count', 'more'), [(9, ''), (12, ' and 2 more')])
def test_colours_that_the_palette_lacks(count, more, tmp_path):
    source = own_sets.make_masks(tmp_path / 'src')
    (source / 'palette.txt').write_text('\n'.join(COLOURS))
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[0, :count] = [[7, 7, i] for i in range(count)]
    Image.fromarray(pixels).save(source / 'masks/pic00.png')
    shown = ', '.join(f'(7, 7, {i})' for i in range(min(count, 10)))
    refused('masks', tmp_path, f'has {count} more, {shown}{more}, in')


def no_objects(source):
    own_sets.make_yolo(source)
    for path in (source / 'labels').iterdir():
        path.write_text('')


def only_difficult(source):
    own_sets.make_voc(source)
    for path in (source / 'Annotations').iterdir():
        text = path.read_text().replace(
            '<bndbox>', '<difficult>1</difficult><bndbox>'
        )
        path.write_text(text)


def outside(source):
    own_sets.save_picture(source / 'a.jpg', 0)
    own_sets.save_voc(source / 'a.xml', 0, box=(99, 99, 120, 120))


void = palette(
    'palette.txt', '0 0 0 void\n128 0 0 void\n0 128 0 void\n1 1 1 a'
)


@pytest.mark.parametrize(
    ('form', 'make', 'texts'),
    [
        ('yolo', no_objects, ['has none in 12 pictures with a label file.']),
        ('coco', coco(lambda c: c.update(annotations=[])), ['has none in 12']),
        ('voc', only_difficult, ['has none in 12 pictures']),
        ('voc', outside, ['has none in 1 picture', 'outside the picture: 1']),
        ('masks', void, ['must have pixels of a, but all', '12 masks']),
    ],
)
def test_nothing_is_labelled(form, make, texts, tmp_path):
    make(tmp_path / 'src')
    refused(form, tmp_path, *texts)


def test_label_maps_without_a_class(tmp_path):
    source = own_sets.make_labelme(tmp_path / 'src')
    for path in source.glob('*.json'):
        text = path.read_text().replace('"cat"', '"void"')
        path.write_text(text.replace('"dog"', '"_ignore_"'))
    refused('labelme', tmp_path, 'has none in 12 pictures', to_masks=True)


@pytest.mark.parametrize(
    'ratios', [(1.5, 0, 0), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (80, 10, 10)]
)
def test_shares_that_are_none(ratios, tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    got = ' '.join(f'{r:g}' for r in ratios)
    refused(
        'voc',
        tmp_path,
        'add up to 1, with train above 0',
        f'got {got}.',
        ratios=ratios,
    )


def test_a_broken_picture_is_blamed(tmp_path):
    source = own_sets.make_voc(tmp_path / 'src')
    (source / 'JPEGImages/pic00.jpg').write_text('no picture')
    result, _ = run('voc', tmp_path)
    [note] = [n for n in result.notes if 'pic00' in n]
    assert note.startswith('broken pictures skipped: 1, e.g. ')
    assert 'pic00.jpg cannot be read' in note
    shutil.rmtree(tmp_path / 'out')
    for path in (source / 'JPEGImages').iterdir():
        path.write_text('no picture')
    refused('voc', tmp_path, 'a b.jpg cannot be read')


def test_notes_of_what_is_no_case(tmp_path):
    own_sets.make_masks(tmp_path / 'src')
    (tmp_path / 'src/palette.txt').write_text(
        '0 0 0 void\n128 0 0 cat\n0 128 0 dog'
    )
    result, _ = run('masks', tmp_path)
    assert result.notes[-1:] == ['87.0% of all pixels are ignored (255)']


def test_voc_says_where_pixels_begin(tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    result, _ = run('voc', tmp_path)
    assert 'are counted from 0' in result.notes[0]


def test_a_set_of_one_picture(tmp_path):
    own_sets.save_picture(tmp_path / 'src/a.jpg', 0)
    own_sets.save_voc(tmp_path / 'src/a.xml', 0)
    run('voc', tmp_path)
    with pytest.raises(UsageError, match='none of val; label more pictures'):
        survey(str(tmp_path / 'out'))
