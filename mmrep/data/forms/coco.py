"""COCO format: JSON files with images, annotations and categories."""

import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mmrep.data.coco.annotations import check_annotations
from mmrep.data.coco.file import CocoFile
from mmrep.data.coco.masks import fault_of
from mmrep.data.forms.pictures import (
    Finder,
    Item,
    LabelFile,
    Notes,
    Picture,
    split_of_name,
)
from mmrep.data.forms.reading import LabelError, Source, read_each, read_json
from mmrep.errors import UsageError


class _Entry:
    """An image of a file, with its annotations."""

    def __init__(self, path: Path, split: Optional[str], image: dict) -> None:
        self.image = image
        self.split = split
        self.path = f'{path} (image {image["file_name"]!r})'
        self.annotations: List[Tuple[str, dict]] = []


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file is in COCO format."""
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ('images', 'categories')
    )


def read(
    labels: Path, pictures: List[Picture], notes: Notes, classes: List[str]
) -> Source:
    """Read files in COCO format; the names of several files are splits."""
    files = LabelFile.list(labels, '.json')
    names: Dict[str, None] = {}
    entries: List[_Entry] = []
    for file in files:
        try:
            if not is_coco(read_json(file.path)):
                notes.add('JSON files that are not in COCO format', file.path)
                continue
        except LabelError as error:
            raise UsageError(f'{file.path} {error}.') from error
        split = file.split or split_of_name(file.path.stem)
        entries += _entries(str(file.path), split, names, notes)
    if not entries:
        raise UsageError(
            f'{labels} must hold a JSON file in COCO format with images, but '
            'has none.'
        )
    finder = Finder(pictures)

    def find(entry: _Entry) -> Optional[Picture]:
        return finder.find_name(entry, str(entry.image['file_name']))

    def read_entry(entry: _Entry, picture: Picture) -> None:
        picture.split = entry.split or picture.split
        _read_entry(entry, picture)

    return read_each(
        'coco', entries, pictures, find, read_entry, notes, list(names)
    )


def _entries(
    path: str, split: Optional[str], names: Dict[str, None], notes: Notes
) -> List[_Entry]:
    file = CocoFile(path, needs_boxes=False)
    for i, entry in enumerate(file.annotations, 1):
        entry['id'] = i  # they get new numbers
    used = {str(entry['category_id']) for entry in file.annotations}
    # Roboflow's first is the name of the project, which no object has
    file.categories = [
        category
        for category in file.categories
        if category.get('supercategory') != 'none'
        or str(category['id']) in used
    ]
    file.check_categories()
    file.check_image_ids()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        check_annotations(file, masks=False)
    for warning in found:
        notes.say(str(warning.message))
    for category in file.categories:
        names[str(category['name'])] = None
    categories = {c['id']: str(c['name']) for c in file.categories}
    entries = {
        image['id']: _Entry(Path(path), split, image) for image in file.images
    }
    for annotation in file.annotations:
        label = categories[annotation['category_id']]
        entries[annotation['image_id']].annotations.append((label, annotation))
    return list(entries.values())


def _read_entry(entry: _Entry, picture: Picture) -> None:
    stated = (int(entry.image['width']), int(entry.image['height']))
    raw = picture.is_raw(stated)
    for label, annotation in entry.annotations:
        x, y, width, height = annotation['bbox']
        points = [(x, y), (x + width, y + height)]
        segmentation = annotation.get('segmentation') or []
        fault = segmentation and fault_of(segmentation, [*stated[::-1]])
        if fault:
            raise LabelError(f'has an invalid mask of {label!r}: {fault}')
        if raw:
            if isinstance(segmentation, dict):
                raise LabelError('has masks for a picture that EXIF rotates')
            points = picture.turn(points)
            segmentation = [
                [
                    v
                    for p in picture.turn(
                        list(zip(polygon[::2], polygon[1::2], strict=True))
                    )
                    for v in p
                ]
                for polygon in segmentation
            ]
        (x1, x2), (y1, y2) = (sorted(v) for v in zip(*points, strict=True))
        picture.items.append(
            Item(
                label,
                (x1, y1, x2, y2),
                segmentation,
                bool(annotation.get('iscrowd')),
            )
        )
