"""YOLO: a text file for each picture, a line for each object.

``class x y width height`` is a box, given by its centre; ``class x1 y1 x2 y2
x3 y3 ...`` is a polygon. All values are shares of the picture.
"""

from pathlib import Path
from typing import Any, List

import yaml

from mmrep.data.forms.pictures import Finder, LabelFile, Notes, Picture
from mmrep.data.forms.reading import (
    LabelError,
    Source,
    check_different,
    number,
    read_each,
    read_text,
)
from mmrep.data.forms.shapes import add_points, corners
from mmrep.errors import UsageError, one_line

# Text files that are not labels: names, lists of pictures, notes of exports.
NAME_FILES = ('classes.txt', 'obj.names', '_darknet.labels', 'names.txt')
_OTHERS = {'train', 'val', 'valid', 'test', 'classes', 'names', 'notes'}
# Rounding may leave a share slightly above 1.
_SLACK = 0.05


def label_files(folder: Path) -> List[LabelFile]:
    """The text files that may be labels."""
    return [
        file
        for file in LabelFile.list(folder, '.txt')
        if file.path.stem.lower() not in _OTHERS
        and not file.path.name.lower().startswith('readme')
    ]


def read(
    labels: Path, pictures: List[Picture], notes: Notes, classes: List[str]
) -> Source:
    """Read YOLO's text files, with the names of classes.txt or data.yaml."""
    names = _names(labels) or classes
    if not names:
        raise UsageError(
            'YOLO numbers its classes, so their names must be in data.yaml '
            f'or classes.txt in {labels}, which has neither; add classes.txt '
            'with one name per line, or give --classes.'
        )
    finder = Finder(pictures)

    def read_file(file: LabelFile, picture: Picture) -> None:
        for i, line in enumerate(read_text(file.path).splitlines(), 1):
            if line.strip():
                _read_line(line.split(), f'line {i}', names, picture)

    return read_each(
        'yolo',
        label_files(labels),
        pictures,
        finder.find,
        read_file,
        notes,
        names,
    )


def _names(folder: Path) -> List[str]:
    """The classes in the order of their numbers; [] if no file has them."""
    for path in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
        try:
            content = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise UsageError(
                f'{path} must be YAML, but is not ({one_line(error)}).'
            ) from error
        if isinstance(content, dict) and content.get('names'):
            names = _listed(content['names'], path)
            check_different(names, path)
            return names
    for name in NAME_FILES:
        for path in (folder / name, *sorted(folder.glob(f'*/{name}'))):
            if path.is_file():
                lines = map(str.strip, read_text(path).splitlines())
                names = [line for line in lines if line]
                check_different(names, path)
                return names
    return []


def _listed(names: Any, path: Path) -> List[str]:
    """Names as a list, or as a dict by number."""
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list):
        raise UsageError(
            f'names in {path} must be a list, or a dict with the keys 0, 1, '
            f'2 and so on; got {names!r}.'
        )
    return list(map(str, names))


def _read_line(
    words: List[str], where: str, names: List[str], picture: Picture
) -> None:
    index, *values = (number(word, where) for word in words)
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise LabelError(
            'must have a class and the 4 numbers of a box, or at least 3 '
            f'points, but {where} has {len(values)} numbers after the class'
        )
    if index != int(index) or not 0 <= index < len(names):
        raise LabelError(
            f'has the class {words[0]} in {where}, but the last name is '
            f'{len(names) - 1} ({names[-1]})'
        )
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values):
        raise LabelError(
            f'must have shares of the picture, 0 to 1, but {where} has '
            f'{max(values, key=abs):g}'
        )
    width, height = picture.size
    scaled = [v * (width, height)[i % 2] for i, v in enumerate(values)]
    box = len(values) == 4
    if box:
        x, y, w, h = scaled
        points = corners(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        points = list(zip(scaled[::2], scaled[1::2], strict=True))
    add_points(picture, names[int(index)], [points], only_box=box, raw=False)
