"""Each way in which annotations may be wrong, in one line."""

import numpy as np
import pytest
from coco_files import annotations, change, message
from pycocotools import mask

from mmrep.engine import check_data
from mmrep.errors import UsageError


def corners(content):
    for entry in content['annotations']:
        x, y, w, h = entry['bbox']
        entry['bbox'] = [x, y, x + w, y + h]


def shares(content):
    for entry in content['annotations']:
        entry['bbox'] = [v / 64 for v in entry['bbox']]


def polygons(place):
    """Masks that are rectangles, somewhere with respect to the box."""

    def edit(entry):
        x, y, w, h = place(*entry['bbox'])
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        entry['segmentation'] = [corners]

    return annotations(edit)


@pytest.mark.parametrize(
    'edit, text',
    [
        (
            annotations(lambda a: a.pop('id'), 10),
            'each annotation must have its own id; 7 of 69 annotations '
            'are wrong; the first is annotations[0] with no id. Number them '
            'from 1',
        ),
        (
            annotations(lambda a: a.update(id=str(a['id'])), 2),
            'ids of annotations must be numbers, because pycocotools stores '
            'them as numbers; 35 of 69 annotations are wrong; the first is '
            "annotations[0] with id '1'. Number them from 1",
        ),
        (
            annotations(lambda a: a.update(id=a['id'] - 1)),
            'must not be 0: pycocotools counts a match with id 0 as no '
            'match, which makes the AP too low; 1 of 69 annotations is '
            'wrong; the first is annotations[0] with id 0.',
        ),
        (
            annotations(lambda a: a.update(id=a['id'] // 2 + 1)),
            'must have its own id; 68 of 69 annotations are wrong; '
            'the first is annotations[1] with id 2.',
        ),
        (
            annotations(lambda a: a.update(image_id=str(a['image_id'])), 2),
            'image_id must be an id of images; 35 of 69 annotations are '
            "wrong; the first is annotations[0], id 1, with image_id '0'. "
            'images have 0: give both the same type.',
        ),
        (
            annotations(lambda a: a.update(category_id=77), 3),
            'category_id must be an id of categories; 23 of 69 annotations '
            'are wrong; the first is annotations[0], id 1, with category_id '
            '77. Add what is missing to categories, or remove them.',
        ),
        (
            annotations(lambda a: a.update(bbox=[1, 2, float('nan'), 4]), 30),
            'all finite, with no negative size; 3 of 69 annotations are '
            'wrong; the first is annotations[0], id 1, with bbox [1, 2, nan, '
            '4].',
        ),
        (
            annotations(lambda a: a.update(bbox=[1, 2, 3, float('inf')])),
            'with bbox [1, 2, 3, inf].',
        ),
        (
            annotations(lambda a: a['bbox'].__setitem__(2, -5), 69),
            'no negative size; 1 of 69 annotations is wrong; the first is '
            'annotations[0], id 1, with bbox',
        ),
        (
            annotations(lambda a: a.update(bbox=[10**400, 2, 3, 4]), 69),
            'all finite, with no negative size; 1 of 69 annotations is wrong',
        ),
        (
            annotations(lambda a: a.update(bbox=[64, 2, 3, 4])),
            'must have boxes, but none of its 69 annotations has a box of',
        ),
        (
            annotations(lambda a: a.update(ignore='0'), 10),
            'ignore must be 0 or 1; 7 of 69 annotations are wrong; the first '
            "is annotations[0], id 1, with ignore '0'.",
        ),
        (
            annotations(lambda a: a.update(category_id=[1]), 69),
            'category_id must be an id of categories; 1 of 69',
        ),
        (corners, 'All boxes look like x1, y1, x2, y2: subtract the first'),
        (shares, 'multiply them by its width and height'),
        (
            annotations(lambda a: a.update(area=str(a['area'])), 69),
            'area must be a number of pixels; 1 of 69 annotations is wrong',
        ),
        (
            annotations(lambda a: a.update(iscrowd='no'), 69),
            'iscrowd must be 0 or 1; 1 of 69 annotations is wrong; the first '
            "is annotations[0], id 1, with iscrowd 'no'.",
        ),
        (
            annotations(lambda a: a.update(segmentation=[]), 10),
            'segmentation must be present, because the config trains or '
            'measures masks; 7 of 69 annotations are wrong; the first is '
            'annotations[0], id 1, with no segmentation.',
        ),
        (
            annotations(lambda a: a.update(segmentation=[[1, 9] * 3])),
            'a mask must have pixels; 69 of 69 annotations are wrong',
        ),
        (
            annotations(
                lambda a: a.update(segmentation=[[1, 1e8, 1, -1e8, 9, 9]]), 69
            ),
            'polygons must have points in the picture',
        ),
        (
            annotations(lambda a: a.update(image_id=[0]), 69),
            'image_id must be an id of images; 1 of 69 annotations is wrong',
        ),
        (
            annotations(lambda a: a.pop('segmentation'), 69),
            'segmentation must be present',
        ),
        (
            annotations(lambda a: a.update(segmentation=[1, 2, 3, 4, 5, 6])),
            'segmentation must be a list of polygons',
        ),
        (
            annotations(lambda a: a.update(segmentation=[[1, 2, 3, 4]]), 69),
            'polygons must have at least three points, with x and y of each '
            'as numbers; 1 of 69 annotations is wrong',
        ),
        (
            annotations(
                lambda a: a.update(
                    segmentation=dict(size=[32, 64], counts=[2048])
                ),
                69,
            ),
            'an RLE must have counts, and the size of its picture, [height, '
            'width]; 1 of 69 annotations is wrong; the first is '
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
        *(
            (
                annotations(lambda a, v=value: a.update(segmentation=[v]), 69),
                text,
            )
            for value, text in (
                (
                    [1, 1, 9, 1, 9, '9'],
                    'with x and y of each as numbers; 1 of',
                ),
                (
                    [1, 1, 9, 1, None, 9],
                    'with x and y of each as numbers; 1 of',
                ),
                (
                    [1, 1, 9, float('nan'), 9, 9],
                    'in the picture, and none may be NaN',
                ),
                (
                    [1, 1, 9, float('inf'), 9, 9],
                    'in the picture, and none may be NaN',
                ),
                (
                    [1, 1, 9, 1e9, 9, 9],
                    'in the picture, and none may be NaN; 1 of 69',
                ),
            )
        ),
        *(
            (
                annotations(
                    lambda a, v=counts: a.update(
                        segmentation=dict(size=[64, 64], counts=v)
                    ),
                    69,
                ),
                'the counts of an RLE must add up to the pixels of its size; '
                '1 of 69 annotations is wrong',
            )
            for counts in (
                None,
                '',
                'no RLE',
                'P' * 30,
                '0' * 9999,
                'ä',
                [5.0, 4091.0],
                [2**32 + 96, 4000],
                [-1, 4097],
            )
        ),
        (
            polygons(lambda x, y, w, h: [v / 64 for v in (x, y, w, h)]),
            'around the polygons of segmentation; 69 of 69 that were checked '
            'are elsewhere; the first is annotations[0], id 1, with bbox '
            '[33, 0, 25, 12] and polygons in [0.5',
        ),
        (
            lambda c: c['images'][1].update(id=None),
            'id of images must be a number everywhere or a string '
            'everywhere; of 16 values, 1 is of another type, the first None. '
            'Use one type for all.',
        ),
        (
            lambda c: c['categories'][1].update(name=['a']),
            'name of categories must be a number everywhere or a string '
            'everywhere',
        ),
        (
            lambda c: c['images'][1].update(file_name=None),
            'file_name must be a string, but 1 of 16 names is not; the first '
            'is None in images[1].',
        ),
        (
            lambda c: (
                [
                    i.update(file_name=f'training/{i["file_name"][:-3]}JPG')
                    for i in c['images']
                ]
                and None
            ),
            'shapes_training_00000.jpg: write file_name relative to',
        ),
        (
            lambda c: c['images'][1].update(id=c['images'][0]['id']),
            'must list each image once, but 1 of them have the same id, the '
            'first 0',
        ),
        (
            lambda c: c['images'][2].update(width='64'),
            "must be whole numbers of pixels, got ('64', 64) in images[2], "
            'id 2',
        ),
        (
            lambda c: [i.update(width=128) for i in c['images']] and None,
            'but 16 of 16 that were checked differ; the first is image id 0, ',
        ),
        (
            lambda c: c['images'][0].update(file_name='images\\1.jpg'),
            'write / instead of \\ in file_name',
        ),
        (
            lambda c: c['categories'][1].update(name='disc'),
            'must list each category once, but 1 of them have the same name: '
            'disc; merge them',
        ),
        (
            lambda c: c['categories'][1].update(id=c['categories'][0]['id']),
            'of them have the same id',
        ),
    ],
)
def test_what_others_export(coco_cfg, coco_root, edit, text):
    change(coco_root, edit)
    assert text in message(coco_cfg)


@pytest.mark.parametrize(
    'edit, text',
    [
        (
            lambda c: c['images'][2].update(
                file_name=c['images'][0]['file_name']
            ),
            '1 of 16 images in .* is listed again under another id, the '
            'first one shapes_training_00000.jpg',
        ),
        (
            annotations(lambda a: a['bbox'].__setitem__(0, 60), 10),
            '7 of 69 boxes in .* extend beyond the picture; the first is '
            'annotations.0., id 1, with bbox .60, 0, 25, 12. in 64x64',
        ),
        (
            annotations(lambda a: a['bbox'].__setitem__(2, 0), 10),
            '7 of 69 annotations in .* are skipped in training and missed '
            'in a test',
        ),
        (
            annotations(lambda a: a['bbox'].__setitem__(0, -70), 10),
            '7 of 69 annotations in .* are skipped in training',
        ),
        (
            annotations(lambda a: a.update(area=0), 10),
            '7 of 69 annotations in .* are skipped in training',
        ),
        (
            annotations(
                lambda a: a.update(
                    segmentation=dict(size=[64, 64], counts=[4096])
                ),
                10,
            ),
            '7 of 69 masks in .* have no pixels, such as flat polygons',
        ),
        (
            annotations(
                lambda a: a.update(segmentation=[[33, 0, 45, 6, 57, 12]]), 69
            ),
            '1 of 69 masks in .* has no pixels',
        ),
    ],
)
def test_what_is_said_and_taken(coco_cfg, coco_root, edit, text):
    """It stands in well-known files too."""
    change(coco_root, edit)
    with pytest.warns(UserWarning, match=text):
        try:
            check_data(coco_cfg, 'train_dataloader')
        except UsageError as error:  # the flat polygon alone is looked at
            assert 'that were checked' in str(error)


def test_boxes_that_are_not_around_their_polygons(coco_cfg, coco_root):
    """Without masks it may be the polygons that are wrong."""
    change(coco_root, polygons(lambda x, y, w, h: (y, x, h, w)))
    with pytest.warns(UserWarning, match='of 69 that were checked are else'):
        assert 'elsewhere' in message(coco_cfg)
        coco_cfg.train_dataloader.dataset.pipeline[1].with_mask = False
        check_data(coco_cfg, 'train_dataloader')
    change(coco_root, polygons(lambda x, y, w, h: (x, y, w, h)))
    check_data(coco_cfg, 'train_dataloader')


def test_compressed_masks(coco_cfg, coco_root):
    """As pycocotools writes them, of all sizes and with many runs."""
    generator = np.random.default_rng(0)

    def edit(content):
        for i, entry in enumerate(content['annotations']):
            pixels = generator.random((64, 64)) < i / 64 if i else i
            pixels = np.zeros((64, 64), bool) | pixels
            rle = mask.encode(np.asfortranarray(pixels, np.uint8))
            entry['segmentation'] = dict(rle, counts=rle['counts'].decode())

    change(coco_root, edit)
    with pytest.warns(UserWarning, match='1 of 69 masks in .* no pixels'):
        check_data(coco_cfg, 'train_dataloader')
