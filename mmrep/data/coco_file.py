"""Annotation files in COCO's form: what is wrong with one, in a line.

pycocotools and MMDetection take much that they then compute nonsense from:
a match to an annotation with id 0 counts as none, a mask of another size than
its picture scores nothing, boxes of an unknown category are left out. Each
check says what must hold, how many entries do not, which is the first, and
what to do.
"""

import json
import math
import os
import os.path as osp
import warnings
from itertools import chain
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

import numpy as np
from PIL import Image

from mmrep.errors import UsageError, one_line

_LISTS = ('images', 'annotations', 'categories')
_KEYS = dict(
    images=('id', 'file_name', 'width', 'height'),
    annotations=('image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)
# EXIF's orientations that exchange width and height
_TURNED = (5, 6, 7, 8)
# Pictures whose headers are read; more are a sample.
_HEADERS = 500


class CocoFile:
    """A file of annotations whose lists and keys are those of COCO.

    Args:
        path (str): The file.
        needs_boxes (bool): Whether it is trained or measured on. A file to
            predict for may lack annotations.

    Raises:
        UsageError: If it cannot be read, or is not in COCO's form.
    """

    def __init__(self, path: str, needs_boxes: bool) -> None:
        self.path = path
        content = self._read(needs_boxes)
        self.images: List[dict] = content['images']
        self.annotations: List[dict] = content['annotations']
        self.categories: List[dict] = content['categories']
        self._check_keys(content)

    def _read(self, needs_boxes: bool) -> Dict[str, Any]:
        what = f'the annotation file {self.path} must be in COCO form'
        try:
            # some editors put a mark of the encoding in front
            with open(self.path, encoding='utf-8-sig') as file:
                content = json.load(file)
        except OSError as error:
            raise UsageError(
                f'{what}, and cannot be read: {one_line(error)}'
            ) from error
        except ValueError as error:  # of JSON or of UTF-8
            raise UsageError(
                f'{what}, and is not JSON: {one_line(error)}'
            ) from error
        if not isinstance(content, dict):
            raise UsageError(
                f'{what}, an object with the lists {", ".join(_LISTS)}; got '
                f'a {type(content).__name__}.'
            )
        if not needs_boxes:
            # the files of COCO's test sets have no such list
            content.setdefault('annotations', [])
        absent = [k for k in _LISTS if not isinstance(content.get(k), list)]
        if absent:
            raise UsageError(
                f'{what}, with the lists {", ".join(_LISTS)}; it has no '
                f'{", ".join(absent)}, but {some(content)}.'
            )
        return content

    def _check_keys(self, content: Dict[str, Any]) -> None:
        for name, keys in _KEYS.items():
            try:  # the quick way, for there may be a million
                for key in keys:
                    for entry in content[name]:
                        entry[key]
                continue
            except (KeyError, IndexError, TypeError):
                pass
            for i, entry in enumerate(content[name]):
                if isinstance(entry, dict) and all(k in entry for k in keys):
                    continue
                got = some(entry) if isinstance(entry, dict) else repr(entry)
                raise UsageError(
                    f'the annotation file {self.path} must be in COCO form; '
                    f'{name}[{i}] must have {", ".join(keys)}, got {got}.'
                )

    def names(self) -> List[str]:
        """Names of the categories, in the file's order."""
        return [category['name'] for category in self.categories]

    def used_names(self) -> set:
        """Names of the categories that annotations have."""
        used = {entry['category_id'] for entry in self.annotations}
        return {c['name'] for c in self.categories if c['id'] in used}

    def refuse(
        self, wrong: Sequence[int], must: str, got: str, todo: str
    ) -> None:
        """Raise an error if there are annotations that are wrong.

        Args:
            wrong (Sequence[int]): Their places in the list.
            must (str): What must hold.
            got (str): What the first one has.
            todo (str): What to do.

        Raises:
            UsageError: If there is one.
        """
        if not len(wrong):
            return
        first = self.annotations[wrong[0]]
        name = f'annotations[{wrong[0]}]'
        if 'id' in first:
            name += f', id {first["id"]!r},'
        verb = 'is' if len(wrong) == 1 else 'are'
        raise UsageError(
            f'the annotation file {self.path}: {must}; {len(wrong)} of '
            f'{len(self.annotations)} annotations {verb} wrong, the first is '
            f'{name} with {got}. {todo}'
        )

    def check_categories(self) -> None:
        """Ids and names of the categories are unique."""
        for key in ('id', 'name'):
            twice = _repeated(category[key] for category in self.categories)
            if twice:
                raise UsageError(
                    f'the annotation file {self.path} must have each category '
                    f'once, and {len(twice)} come again with the same {key}, '
                    f'the first {twice[0]!r}; join them under one id.'
                )

    def check_images(self, folder: str) -> None:
        """Images have ids of their own, sizes, and files that exist."""
        if not self.images:
            raise UsageError(
                f'the annotation file {self.path} must list images.'
            )
        twice = _repeated(image['id'] for image in self.images)
        if twice:
            raise UsageError(
                f'the annotation file {self.path} must list each image once, '
                f'and {len(twice)} come again with the same id, the first '
                f'{twice[0]!r}; number the images anew, and image_id of the '
                'annotations with them.'
            )
        for i, image in enumerate(self.images):
            size = image['width'], image['height']
            if not all(type(v) is int and v > 0 for v in size):
                raise UsageError(
                    f'the annotation file {self.path}: width and height of an '
                    f'image must be whole numbers of pixels, got {size!r} in '
                    f'images[{i}], id {image["id"]!r}.'
                )
        self._check_files(folder)
        self._check_sizes(folder)

    def _check_files(self, folder: str) -> None:
        """One listing a folder, which is quick where a query a file is not."""
        listings: Dict[str, set] = {}
        missing = []
        for image in self.images:
            parent, name = osp.split(osp.join(folder, image['file_name']))
            if parent not in listings:
                exists = osp.isdir(parent)
                listings[parent] = set(os.listdir(parent)) if exists else set()
            if name not in listings[parent]:
                missing.append(osp.join(parent, name))
        if not missing:
            return
        count, total = len(missing), len(self.images)
        share = 'all' if count == total else f'{count} of'
        todo = 'check data_prefix, or remove their entries'
        if '\\' in missing[0]:
            todo = "write / for \\ in file_name, as other systems' paths have"
        elif '://' in missing[0]:
            todo = 'download them, and give their file names'
        raise UsageError(
            f'the images that {self.path} lists must exist, and {share} '
            f'{total} are missing, e.g. {missing[0]}; {todo}.'
        )

    def _check_sizes(self, folder: str) -> None:
        """The sizes in the file are those of the pictures."""
        step = math.ceil(len(self.images) / _HEADERS)
        sample = self.images[::step]
        wrong = []
        for image in sample:
            stated = image['width'], image['height']
            path = osp.join(folder, image['file_name'])
            try:
                with Image.open(path) as picture:
                    size = picture.size
                    turned = picture.getexif().get(274) in _TURNED
            except Exception:  # a broken picture is named when it is read
                continue
            if turned:  # it is turned when it is loaded
                size = size[::-1]
            if stated != size:
                wrong.append((image, stated, size, turned))
        if not wrong:
            return
        image, stated, size, turned = wrong[0]
        hint = ' when it is turned as its EXIF data say' if turned else ''
        raise UsageError(
            f'the annotation file {self.path}: width and height must be those '
            f'of the pictures, and {len(wrong)} of {len(sample)} that were '
            f'looked at have others, the first is image id {image["id"]!r}, '
            f'{image["file_name"]}: {_by(stated)} in the file, {_by(size)} '
            f'in the picture{hint}. Boxes and masks of another size are in '
            'the wrong place; export them anew for these pictures.'
        )

    def check_annotations(self, masks: bool) -> None:
        """Ids, references, boxes, areas and masks can be computed with.

        Args:
            masks (bool): Whether masks are trained or measured.
        """
        if not self.annotations:
            return
        self._check_ids()
        self._check_references()
        if not self.annotations:  # none of a listed image
            return
        self._check_boxes()
        self._check_numbers()
        if masks:
            self._check_masks()

    def _check_ids(self) -> None:
        renumber = (
            'Number them from 1: for i, a in enumerate(content["annotations"]'
            ', 1): a["id"] = i.'
        )
        must = 'annotations must have an id of their own'
        ids = [entry.get('id') for entry in self.annotations]
        self.refuse(
            [i for i, v in enumerate(ids) if v is None],
            must,
            'none',
            renumber,
        )
        self.refuse(
            [i for i, v in enumerate(ids) if not v],
            'ids of annotations must not be 0, which pycocotools takes for '
            'no match, so that the AP is too low',
            'that id',
            renumber,
        )
        twice = set(_repeated(ids))  # few or none
        self.refuse(
            [i for i, v in enumerate(ids) if v in twice] if twice else [],
            must,
            'one that comes again',
            renumber,
        )

    def _check_references(self) -> None:
        for key, entries, many in (
            ('image_id', self.images, 'images'),
            ('category_id', self.categories, 'categories'),
        ):
            known = {entry['id'] for entry in entries}
            values = [entry[key] for entry in self.annotations]
            wrong = [i for i, v in enumerate(values) if _unknown(v, known)]
            if not wrong:
                continue
            value = values[wrong[0]]
            todo = f'Add what is missing to {many}, or remove them.'
            other = next((k for k in known if str(k) == str(value)), None)
            if other is not None:
                todo = f'{many} have {other!r}: give both the same type.'
            elif key == 'image_id':
                self._leave_out(wrong)
                continue
            self.refuse(
                wrong,
                f'{key} must be an id of {many}',
                f'{key} {value!r}',
                todo,
            )

    def _leave_out(self, wrong: Sequence[int]) -> None:
        """Do without annotations of images that are not listed, as all do."""
        out = set(wrong)
        warnings.warn(
            f'{len(wrong)} of {len(self.annotations)} annotations in '
            f'{self.path} are of images that it does not list; they are left '
            'out.',
            stacklevel=2,
        )
        self.annotations = [
            entry for i, entry in enumerate(self.annotations) if i not in out
        ]

    def _check_boxes(self) -> None:
        values = [entry['bbox'] for entry in self.annotations]
        must = 'bbox must be four numbers, x, y, width and height in pixels'
        wrong = []
        if not _are_all_boxes(values):
            wrong = _others(values, _is_box)
        self.refuse(
            wrong,
            must,
            f'bbox {values[wrong[0]]!r}' if wrong else '',
            'Remove them, or export the boxes anew.',
        )
        boxes = np.fromiter(chain.from_iterable(values), float)
        boxes = boxes.reshape(-1, 4)
        odd = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
        wrong = np.flatnonzero(odd).tolist()
        self.refuse(
            wrong,
            f'{must}, finite, and no size below 0',
            f'bbox {values[wrong[0]]!r}' if wrong else '',
            'Remove them, or export the boxes anew.',
        )
        sizes = {i['id']: (i['width'], i['height']) for i in self.images}
        whole = np.array([sizes[e['image_id']] for e in self.annotations])
        if boxes.max() <= 1 and whole.min() > 1:
            self.refuse(
                range(len(boxes)),
                must,
                f'bbox {values[0]!r}',
                'Boxes that are all below 1 are shares of the picture: '
                'multiply by its width and height.',
            )
        outside = (boxes[:, :2] + boxes[:, 2:] > whole + 1).any(1)
        corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= whole + 1)
        if outside.any() and corners.all():
            wrong = np.flatnonzero(outside).tolist()
            self.refuse(
                wrong,
                must,
                f'bbox {values[wrong[0]]!r} in a picture of '
                f'{_by(whole[wrong[0]])}',
                'All boxes look like x1, y1, x2, y2: subtract the first two '
                'numbers from the others.',
            )

    def _check_numbers(self) -> None:
        values = [entry['area'] for entry in self.annotations]
        wrong = _others(values, _is_area)
        self.refuse(
            wrong,
            'area must be a number of pixels',
            f'area {values[wrong[0]]!r}' if wrong else '',
            'Write numbers without quotes.',
        )
        values = [entry.get('iscrowd', 0) for entry in self.annotations]
        wrong = [i for i, v in enumerate(values) if v not in (0, 1)]
        self.refuse(
            wrong,
            'iscrowd must be 0 or 1',
            f'iscrowd {values[wrong[0]]!r}' if wrong else '',
            'Leave it out where it is not known: it then counts as 0.',
        )

    def _check_masks(self) -> None:
        values = [entry.get('segmentation') for entry in self.annotations]
        absent = [i for i, v in enumerate(values) if not v]
        if len(absent) == len(values):
            raise UsageError(
                f'the annotation file {self.path} must have masks, which the '
                "config trains or measures, and all of its annotations' "
                'segmentation are empty; use a config of a detector without '
                'masks.'
            )
        todo = 'Remove them, or use a config of a detector without masks.'
        self.refuse(
            absent,
            'segmentation must be there, for masks are trained or measured',
            'none',
            todo,
        )
        sizes = {i['id']: [i['height'], i['width']] for i in self.images}
        faults: Dict[str, List[int]] = {}
        for i, (value, entry) in enumerate(
            zip(values, self.annotations, strict=True)
        ):
            fault = mask_fault(value, sizes[entry['image_id']])
            if fault:
                faults.setdefault(fault, []).append(i)
        for fault, wrong in faults.items():
            got = f'segmentation {_short(values[wrong[0]])}'
            self.refuse(wrong, fault, got, 'Export the masks anew.')

    def has_usable_boxes(self, classes: Sequence[str]) -> bool:
        """Whether something is left of what MMDetection leaves out."""
        categories = {c['id'] for c in self.categories if c['name'] in classes}
        return any(
            entry['category_id'] in categories
            and entry['area'] > 0
            and min(entry['bbox'][2:]) >= 1
            and not entry.get('ignore')
            and not entry.get('iscrowd')
            for entry in self.annotations
        )


def _repeated(values: Iterable[Any]) -> List[Any]:
    """Values that come again, in order; unhashable ones are no ids."""
    seen: set = set()
    twice = []
    for value in values:
        try:
            if value in seen:
                twice.append(value)
            seen.add(value)
        except TypeError:
            raise UsageError(
                f'ids and names must be numbers or texts, got {value!r}.'
            ) from None
    return twice


def _unknown(value: Any, known: set) -> bool:
    try:
        return value not in known
    except TypeError:  # a list and the like
        return True


def _others(values: List[Any], is_sound: Callable[[Any], bool]) -> List[int]:
    return [i for i, value in enumerate(values) if not is_sound(value)]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_area(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_box(value: Any) -> bool:
    return (
        type(value) is list and len(value) == 4 and all(map(_is_number, value))
    )


def _are_all_boxes(values: List[Any]) -> bool:
    """Whether all are lists of four numbers, without a loop in Python."""
    return (
        set(map(type, values)) == {list}
        and set(map(len, values)) == {4}
        and set(map(type, chain.from_iterable(values))) <= {int, float}
    )


def mask_fault(segmentation: Any, size: List[int]) -> str:
    """What a mask must be and is not, '' if nothing is wrong."""
    if isinstance(segmentation, dict):
        if 'counts' not in segmentation or segmentation.get('size') != size:
            return (
                'an RLE must have counts, and the size of its picture, '
                '[height, width]'
            )
        counts = segmentation['counts']
        # pycocotools does not come to an end with others
        if isinstance(counts, list) and not (
            all(type(n) is int and n >= 0 for n in counts)
            and sum(counts) == size[0] * size[1]
        ):
            return 'the counts of an RLE must add up to the pixels of its size'
        return ''
    if not isinstance(segmentation, list) or any(
        type(polygon) is not list for polygon in segmentation
    ):
        return (
            'segmentation must be a list of polygons, [[x1, y1, x2, y2, x3, '
            'y3, ...], ...], or an RLE'
        )
    for polygon in segmentation:
        points = len(polygon)
        if points < 6 or points % 2 or not _is_number(polygon[0]):
            return (
                'polygons must have at least three points, x and y of each, '
                'as numbers'
            )
    return ''


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f'size {value.get("size")!r}'
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _by(size: Sequence[int]) -> str:
    return f'{size[0]}x{size[1]}'


def some(names: Iterable[Any]) -> str:
    """The first few names, and how many more there are."""
    names = [str(name) for name in names]
    more = f' and {len(names) - 6} more' if len(names) > 6 else ''
    return f'({", ".join(names[:6])}{more})'


def _identity(file: CocoFile) -> Tuple[Dict[Any, str], List[Tuple[Any, str]]]:
    return (
        {image['id']: image['file_name'] for image in file.images},
        [(c['id'], c['name']) for c in file.categories],
    )


def check_same(file: CocoFile, other: CocoFile, what: str) -> None:
    """Check that a metric's file speaks of the images of a data set's.

    Args:
        file (CocoFile): The data set's.
        other (CocoFile): The metric's.
        what (str): The metric, for the message.

    Raises:
        UsageError: If images or categories differ.
    """
    (images, categories), (others, other_categories) = map(
        _identity, (file, other)
    )
    differing = [k for k in images if others.get(k) != images[k]]
    differing += [k for k in others if k not in images]
    if differing:
        raise UsageError(
            f'{what} must measure by the annotation file of its data set, '
            f'{file.path}, or one of the same images, and {other.path} '
            f'differs in {len(differing)} of them, the first with id '
            f'{differing[0]!r}; set ann_file of both to the same file.'
        )
    if categories != other_categories:
        raise UsageError(
            f'{what} must measure by the categories of its data set, and '
            f'{other.path} has {some(n for _, n in other_categories)}, '
            f'{file.path} has {some(n for _, n in categories)}, or other ids '
            'of them; set ann_file of both to the same file.'
        )
