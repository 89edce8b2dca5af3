"""Data sets in the formats of labelling tools."""

from pathlib import Path
from typing import Callable, Dict, List

from mmrep.data.forms import coco, cvat, labelme, voc, yolo
from mmrep.data.forms.pictures import (
    Notes,
    Picture,
    list_files,
    list_pictures,
)
from mmrep.data.forms.reading import LabelError, Source, read_json, read_xml
from mmrep.errors import UsageError

READERS: Dict[str, Callable[..., Source]] = dict(
    voc=voc.read,
    yolo=yolo.read,
    labelme=labelme.read,
    cvat=cvat.read,
    coco=coco.read,
)
_SUFFIXES = dict(
    voc=('.xml',),
    yolo=('.txt',),
    labelme=('.json',),
    cvat=('.xml', '.json'),
    coco=('.json',),
)
_ROOTS = dict(annotation='voc', annotations='cvat')
# Number of label files that are read to recognise a format.
_TRIES = 20


def read_source(
    form: str, folder: Path, labels: Path, notes: Notes, classes: List[str]
) -> Source:
    """Read a data set.

    Args:
        form (str): One of :data:`READERS`.
        folder (Path): Where the pictures are.
        labels (Path): Where the labels are; it may be the same folder.
        notes (Notes): Receives what was skipped.
        classes (list[str]): Names of the classes, for formats without names.

    Raises:
        UsageError: If it cannot be read.
    """
    pictures: List[Picture] = list_pictures(folder)
    found = find_forms(labels)
    if form not in found and not (form == 'cvat' and 'coco' in found):
        wrong = [f for f in found if _SUFFIXES[f] == _SUFFIXES[form]]
        if wrong or not _has(labels, _SUFFIXES[form]):
            hint = f'; it looks like {" and ".join(found)}' if found else ''
            raise UsageError(
                f'{labels} must hold labels in the format {form} '
                f'({" or ".join(_SUFFIXES[form])}), but holds none{hint}.'
            )
    return READERS[form](labels, pictures, notes, classes)


def _has(folder: Path, suffixes: tuple) -> bool:
    return any(p.suffix.lower() in suffixes for p in list_files(folder))


def find_forms(folder: Path) -> List[str]:
    """The formats of the first label files in a folder."""
    files = [p for p in list_files(folder) if p.stat().st_size]
    found: Dict[str, None] = {}
    for path in [p for p in files if p.suffix.lower() == '.xml'][:_TRIES]:
        try:
            root = read_xml(path).tag
        except LabelError:
            continue
        if root in _ROOTS:
            found[_ROOTS[root]] = None
    for path in [p for p in files if p.suffix.lower() == '.json'][:_TRIES]:
        try:
            content = read_json(path)
        except LabelError:
            continue
        if labelme.is_labelme(content):
            found['labelme'] = None
        elif coco.is_coco(content):
            found['coco'] = None
    if yolo.label_files(folder):
        found['yolo'] = None
    return list(found)


__all__ = ['READERS', 'Notes', 'find_forms', 'read_source']
