"""Check annotation files in COCO format.

pycocotools and MMDetection accept much input that leads to nonsense: a match
with an annotation with id 0 counts as none, a mask whose size differs from
that of its picture scores nothing, boxes of an unknown category are dropped.
Each check says what must hold, how many entries violate it, which one is the
first, and what to do.
"""

import json
import math
import os
import os.path as osp
import warnings
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from PIL import Image

from mmrep.errors import (
    UsageError,
    agreed,
    counted,
    listed,
    one_line,
    share,
)

_LISTS = ('images', 'annotations', 'categories')
_KEYS = dict(
    images=('id', 'file_name', 'width', 'height'),
    annotations=('image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)
# EXIF orientations that swap width and height
_TURNED = (5, 6, 7, 8)
# Most pictures whose headers are read; if there are more, a sample is.
_HEADERS = 500


class CocoFile:
    """An annotation file with COCO's lists and keys.

    Args:
        path (str): The file.
        needs_boxes (bool): Whether it is used for training or scores. A file
            for predictions may lack annotations.

    Raises:
        UsageError: If it cannot be read, or is not in COCO format.
    """

    def __init__(self, path: str, needs_boxes: bool) -> None:
        self.path = path
        content = self._read(needs_boxes)
        self.images: List[dict] = content['images']
        self.annotations: List[dict] = content['annotations']
        self.categories: List[dict] = content['categories']
        self._check_keys(content)

    def _read(self, needs_boxes: bool) -> Dict[str, Any]:
        what = f'the annotation file {self.path} must be in COCO format'
        try:
            with open(self.path, encoding='utf-8') as file:
                content = json.load(file)
        except OSError as error:
            raise UsageError(
                f'{what}, but cannot be read: {one_line(error)}'
            ) from error
        # from JSON, from UTF-8, or from a thousand brackets
        except (ValueError, RecursionError) as error:
            text = one_line(error)
            if 'BOM' in text:
                text = (
                    'it begins with a byte order mark, which pycocotools '
                    'cannot read; save it as UTF-8 without one.'
                )
            raise UsageError(f'{what}, but is not JSON: {text}') from error
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
            try:  # the fast way, because there may be a million
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
                    f'the annotation file {self.path} must be in COCO format; '
                    f'{name}[{i}] must have {", ".join(keys)}, got {got}.'
                )

    def names(self) -> List[str]:
        """Names of the categories, in the file's order."""
        return [category['name'] for category in self.categories]

    def used_names(self) -> set:
        """Names of the categories that annotations have."""
        used = [entry['category_id'] for entry in self.annotations]
        ids = {i for i in used if isinstance(i, (int, float, str))}
        return {c['name'] for c in self.categories if c['id'] in ids}

    def _check_kind(self, name: str, key: str) -> None:
        """Check that values are all numbers or all strings, to sort."""
        values = [entry[key] for entry in getattr(self, name)]
        kinds = set(map(type, values))
        if kinds <= {int, float} or kinds == {str}:
            return
        odd = [v for v in values if not is_number(v)]
        raise UsageError(
            f'the annotation file {self.path}: {key} of {name} must be a '
            'number everywhere or a string everywhere; of '
            f'{counted(len(values), "value")}, {len(odd)} '
            f'{agreed(len(odd), "is are")} of another type, the first '
            f'{odd[0]!r}. Use one type for all.'
        )

    def check_categories(self) -> None:
        """Check that ids and names of the categories are unique."""
        for key in ('id', 'name'):
            self._check_kind('categories', key)
            twice = repeated(category[key] for category in self.categories)
            if twice:
                raise UsageError(
                    f'the annotation file {self.path} must list each category '
                    f'once, but {len(twice)} of them have the same {key}: '
                    f'{listed(dict.fromkeys(twice))}; merge them under one id.'
                )

    def check_images(self, folder: str) -> None:
        """Check that images have different ids, sizes, and existing files."""
        if not self.images:
            raise UsageError(
                f'the annotation file {self.path} must list images.'
            )
        self.check_image_ids()
        for i, image in enumerate(self.images):
            size = image['width'], image['height']
            if not all(type(v) is int and v > 0 for v in size):
                raise UsageError(
                    f'the annotation file {self.path}: the width and height '
                    'of an image must be whole numbers of pixels, got '
                    f'{size!r} in images[{i}], id {image["id"]!r}.'
                )
        self._check_files(folder)
        self._check_sizes(folder)

    def check_image_ids(self) -> None:
        """Check that images have different ids of one type."""
        self._check_kind('images', 'id')
        twice = repeated(image['id'] for image in self.images)
        if twice:
            raise UsageError(
                f'the annotation file {self.path} must list each image once, '
                f'but {len(twice)} of them have the same id, the first '
                f'{twice[0]!r}; renumber the images, and change image_id of '
                'the annotations to match.'
            )

    def _check_files(self, folder: str) -> None:
        """Check files with one listing per folder, not one query per file."""
        names = [image['file_name'] for image in self.images]
        wrong = [i for i, name in enumerate(names) if type(name) is not str]
        if wrong:
            raise UsageError(
                f'the annotation file {self.path}: file_name must be a '
                f'string, but {share(len(wrong), len(names), "name")} '
                f'{agreed(len(wrong), "is are")} not; the first is '
                f'{names[wrong[0]]!r} in images[{wrong[0]}].'
            )
        listings: Dict[str, set] = {}
        missing = []
        for name in names:
            parent, name = osp.split(osp.join(folder, name))
            if parent not in listings:
                exists = osp.isdir(parent)
                listings[parent] = set(os.listdir(parent)) if exists else set()
            if name not in listings[parent]:
                missing.append(osp.join(parent, name))
        if not missing:
            self._warn_of_twins(names)
            return
        lacking = share(len(missing), len(self.images), 'image')
        verb = agreed(len(missing), 'is are')
        todo = 'check data_prefix, or remove their entries'
        near = _namesake(folder, missing[0])
        if near:
            todo = f'there is {near}: write file_name relative to {folder}'
        elif '\\' in missing[0]:
            todo = 'write / instead of \\ in file_name'
        elif '://' in missing[0]:
            todo = 'download them, and give their file names'
        raise UsageError(
            f'the images that {self.path} lists must exist, but {lacking} '
            f'{verb} missing, e.g. {missing[0]}; {todo}.'
        )

    def _warn_of_twins(self, names: List[str]) -> None:
        """Warn of images listed twice, as after joining two exports."""
        twins = repeated(names)
        if twins:
            warnings.warn(
                f'{len(twins)} of {len(names)} images in {self.path} '
                f'{agreed(len(twins), "is are")} listed again under another '
                f'id, the first one {twins[0]}; '
                'each entry then has only part of the boxes, or all boxes '
                'count twice.',
                stacklevel=2,
            )

    def _check_sizes(self, folder: str) -> None:
        """Check that the sizes in the file are those of the pictures."""
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
            except Exception:  # a broken picture is reported when it is read
                continue
            if turned:  # it is rotated when it is loaded
                size = size[::-1]
            if stated != size:
                wrong.append((image, stated, size, turned))
        if not wrong:
            return
        image, stated, size, turned = wrong[0]
        hint = ' when it is rotated as its EXIF data say' if turned else ''
        raise UsageError(
            f'the annotation file {self.path}: width and height must be those '
            f'of the pictures, but {len(wrong)} of {len(sample)} that were '
            f'checked {agreed(len(wrong), "differs differ")}; the first is '
            f'image id {image["id"]!r}, '
            f'{image["file_name"]}: {by(stated)} in the file, {by(size)} in '
            f'the picture{hint}. Boxes and masks for another size are in the '
            'wrong place; export them again for these pictures.'
        )


def repeated(values: Iterable[Any]) -> List[Any]:
    """Values that occur again, in order."""
    seen: set = set()
    twice = []
    for value in values:
        if value in seen:
            twice.append(value)
        seen.add(value)
    return twice


def _namesake(folder: str, path: str) -> str:
    """A file with this name in another case, folder or format, or ''."""
    stem = osp.splitext(osp.basename(path))[0].lower()
    names = sorted(os.listdir(folder)) if osp.isdir(folder) else []
    near = [name for name in names if osp.splitext(name)[0].lower() == stem]
    return osp.join(folder, near[0]) if near else ''


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return type(value) in (int, float)


def by(size: Sequence[int]) -> str:
    """A size in words, width first."""
    return f'{size[0]}x{size[1]}'


def some(names: Iterable[Any]) -> str:
    """The first few names, and how many more there are."""
    return f'({listed(names, 6)})'


def _identity(file: CocoFile) -> Tuple[Dict[Any, str], List[Tuple[Any, str]]]:
    return (
        {image['id']: image['file_name'] for image in file.images},
        [(c['id'], c['name']) for c in file.categories],
    )


def check_same(file: CocoFile, other: CocoFile, what: str) -> None:
    """Check that a metric's file has the images of a data set's file.

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
            f'{what} must use the annotation file of its data set, '
            f'{file.path}, or one with the same images, but {other.path} '
            f'differs in {len(differing)} of them, the first with id '
            f'{differing[0]!r}; set ann_file of both to the same file.'
        )
    if categories != other_categories:
        raise UsageError(
            f'{what} must use the categories of its data set, but '
            f'{other.path} has {some(n for _, n in other_categories)}, '
            f'{file.path} has {some(n for _, n in categories)}, or their ids '
            'differ; set ann_file of both to the same file.'
        )
