"""LabelMe: a JSON file for each picture, with polygons and other shapes."""

import base64
import binascii
import io
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from PIL import Image

from mmrep.data.forms.pictures import Finder, LabelFile, Notes, Picture
from mmrep.data.forms.reading import (
    LabelError,
    Source,
    number,
    points_of,
    read_each,
    read_json,
)
from mmrep.data.forms.shapes import add_points, corners, ellipse, mask_item

_NO_AREA = ('point', 'points', 'line', 'linestrip')


def is_labelme(content: Any) -> bool:
    """Whether the content of a JSON file is LabelMe's."""
    return isinstance(content, dict) and isinstance(
        content.get('shapes'), list
    )


def read(
    labels: Path, pictures: List[Picture], notes: Notes, classes: List[str]
) -> Source:
    """Read LabelMe's JSON files; the shapes of a group are one object."""
    finder = Finder(pictures)

    def find(file: LabelFile) -> Optional[Picture]:
        return finder.find(
            file, lambda: str(_content(file.path).get('imagePath') or '')
        )

    def read_file(file: LabelFile, picture: Picture) -> None:
        _read_content(_content(file.path), picture, notes)

    files = LabelFile.list(labels, '.json')
    return read_each('labelme', files, pictures, find, read_file, notes)


def _content(path: Path) -> dict:
    content = read_json(path)
    if not is_labelme(content):
        raise LabelError('has no list "shapes", as LabelMe writes it')
    return content


def _read_content(content: dict, picture: Picture, notes: Notes) -> None:
    stated = tuple(
        int(number(content.get(key) or 0, key))
        for key in ('imageWidth', 'imageHeight')
    )
    raw = picture.is_raw(stated)
    groups: Dict[Any, Tuple[str, bool, list]] = {}
    for i, shape in enumerate(content['shapes']):
        if not isinstance(shape, dict) or not shape.get('label'):
            raise LabelError(f'has a shape without a label, shapes[{i}]')
        label = str(shape['label']).strip()
        kind = shape.get('shape_type') or 'polygon'
        if kind in _NO_AREA:
            notes.add(
                f'shapes skipped because a {kind} has no area', picture.name
            )
            continue
        if kind == 'mask':
            picture.items.append(_mask(shape, label, picture, raw))
            continue
        points = _outline(kind, shape.get('points'))
        group = shape.get('group_id')
        key = ('one', i) if group is None else (group, label)
        _, _, parts = groups.setdefault(key, (label, kind == 'rectangle', []))
        parts.append(points)
    for label, box, parts in groups.values():
        only_box = box and len(parts) == 1
        add_points(picture, label, parts, only_box=only_box, raw=raw)


def _outline(kind: str, values: Any) -> List[tuple]:
    if kind == 'rectangle':
        points = points_of(values, 2)
        return corners(*points[0], *points[1]) if len(points) == 2 else points
    if kind == 'circle':
        centre, border = points_of(values, 2)[:2]
        radius = math.dist(centre, border)
        return ellipse(centre, (radius, radius))
    if kind in ('polygon', 'oriented_rectangle'):
        return points_of(values, 3)
    raise LabelError(f'has a shape of unknown type {kind!r}')


def _mask(shape: dict, label: str, picture: Picture, raw: bool) -> Any:
    """A shape given as a PNG picture of its box."""
    left, top = points_of(shape.get('points'), 2)[0]
    if raw:
        raise LabelError(
            'has masks for a picture that EXIF rotates; save it again in '
            'LabelMe'
        )
    try:
        data = base64.b64decode(shape.get('mask') or '')
        with Image.open(io.BytesIO(data)) as image:
            mask = np.asarray(image.convert('L'))
    except (OSError, SyntaxError, ValueError, binascii.Error) as error:
        raise LabelError('has a mask that is not a PNG picture') from error
    return mask_item(picture, label, int(left), int(top), mask)
