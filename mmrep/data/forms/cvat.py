"""CVAT: one XML file "for images 1.1", or its export in COCO format."""

from pathlib import Path
from typing import Dict, List, Optional
from xml.etree.ElementTree import Element

import numpy as np

from mmrep.data.forms import coco
from mmrep.data.forms.pictures import (
    Finder,
    Notes,
    Picture,
    list_files,
    split_of_name,
)
from mmrep.data.forms.reading import (
    LabelError,
    Source,
    number,
    read_each,
    read_xml,
)
from mmrep.data.forms.shapes import (
    add_points,
    corners,
    ellipse,
    mask_item,
    rotated,
)
from mmrep.errors import UsageError

_NO_AREA = ('points', 'polyline', 'skeleton', 'cuboid', 'tag')


class _Entry:
    """An <image> of the file."""

    def __init__(self, path: Path, element: Element) -> None:
        self.element = element
        self.name = element.get('name', '')
        self.split = split_of_name(element.get('subset', ''))
        self.path = f'{path} (image {self.name!r})'


def read(
    labels: Path, pictures: List[Picture], notes: Notes, classes: List[str]
) -> Source:
    """Read CVAT's XML for images, or else the COCO files it exports."""
    entries: List[_Entry] = []
    names: Dict[str, None] = {}
    for path in list_files(labels):
        if path.suffix.lower() != '.xml':
            continue
        try:
            root = read_xml(path)
        except LabelError as error:
            raise UsageError(f'{path} {error}.') from error
        if root.tag != 'annotations':
            raise UsageError(
                f'{path} must be "CVAT for images 1.1" XML with the root '
                f'<annotations>, but has <{root.tag}>.'
            )
        if root.find('track') is not None:
            raise UsageError(
                f'{path} is CVAT for video; export "CVAT for images 1.1", '
                'with the pictures.'
            )
        names.update(
            dict.fromkeys(
                label.text.strip()
                for label in root.iterfind('meta//labels/label/name')
                if label.text
            )
        )
        entries += [_Entry(path, image) for image in root.iterfind('image')]
    if not entries:
        return coco.read(labels, pictures, notes, classes)
    finder = Finder(pictures)

    def find(entry: _Entry) -> Optional[Picture]:
        return finder.find_name(entry, entry.name)

    def read_entry(entry: _Entry, picture: Picture) -> None:
        picture.split = entry.split or picture.split
        _read_image(entry.element, picture, notes)

    source = read_each(
        'cvat', entries, pictures, find, read_entry, notes, list(names)
    )
    used = {item.label for p in source.pictures for item in p.items}
    source.classes += sorted(used.difference(source.classes))
    return source


def _read_image(image: Element, picture: Picture, notes: Notes) -> None:
    stated = tuple(
        int(number(image.get(side) or 0, side)) for side in ('width', 'height')
    )
    raw = picture.is_raw(stated)
    for shape in sorted(image, key=lambda s: int(s.get('z_order') or 0)):
        label = (shape.get('label') or '').strip()
        if shape.tag in _NO_AREA:
            notes.add(
                f'shapes skipped because a {shape.tag} has no area',
                picture.name,
            )
            continue
        if not label:
            raise LabelError(f'has a <{shape.tag}> without a label')
        if shape.tag == 'mask':
            if raw:
                raise LabelError('has masks for a picture that EXIF rotates')
            picture.items.append(_mask(shape, label, picture))
            continue
        degrees = _value(shape, 'rotation', 0)
        points = _outline(shape, degrees)
        only_box = shape.tag == 'box' and not degrees
        add_points(picture, label, [points], only_box=only_box, raw=raw)


def _value(shape: Element, key: str, default: Optional[float] = None) -> float:
    return number(shape.get(key, default), f'{key} of <{shape.tag}>')


def _outline(shape: Element, degrees: float) -> List[tuple]:
    if shape.tag == 'box':
        box = [_value(shape, key) for key in ('xtl', 'ytl', 'xbr', 'ybr')]
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return rotated(corners(*box), centre, degrees)
    if shape.tag == 'ellipse':
        cx, cy, rx, ry = (_value(shape, k) for k in ('cx', 'cy', 'rx', 'ry'))
        return ellipse((cx, cy), (rx, ry), degrees)
    if shape.tag == 'polygon':
        pairs = [p.split(',') for p in shape.get('points', '').split(';')]
        if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
            raise LabelError('has a polygon of fewer than three points')
        return [(number(x, 'x'), number(y, 'y')) for x, y in pairs]
    raise LabelError(f'has a shape of unknown type <{shape.tag}>')


def _mask(shape: Element, label: str, picture: Picture):
    """A mask from run lengths of the rows in a box, zeros first."""
    left, top, width, height = (
        int(_value(shape, key)) for key in ('left', 'top', 'width', 'height')
    )
    runs = [int(number(n, 'rle')) for n in (shape.get('rle') or '').split(',')]
    if min(runs) < 0 or sum(runs) != width * height:
        raise LabelError('has a mask whose rle does not fill its box')
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    mask = flat.reshape(height, width).astype(np.uint8)
    return mask_item(picture, label, left, top, mask)
