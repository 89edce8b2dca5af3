"""Pascal VOC: an XML file for each picture, as from labelImg and CVAT."""

from pathlib import Path
from typing import Dict, List, Optional
from xml.etree.ElementTree import Element

from mmrep.data.forms.pictures import Finder, LabelFile, Notes, Picture
from mmrep.data.forms.reading import (
    LabelError,
    Source,
    number,
    read_each,
    read_text,
    read_xml,
)
from mmrep.data.forms.shapes import add_points, corners

_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def read(
    labels: Path, pictures: List[Picture], notes: Notes, classes: List[str]
) -> Source:
    """Read VOC's XML files, and the splits of ``ImageSets/Main``."""
    files = LabelFile.list(labels, '.xml')
    splits = _splits(labels)
    for picture in pictures:
        picture.split = splits.get(picture.key[-1], picture.split)
    finder = Finder(pictures)
    notes.say(
        'the pixels of the boxes are counted from 0, as most tools for '
        'labelling do; boxes counted from 1, as in the original VOC data, '
        'are one pixel too far to the right and down'
    )

    def find(file: LabelFile) -> Optional[Picture]:
        return finder.find(
            file, lambda: _root(file.path).findtext('filename') or ''
        )

    return read_each('voc', files, pictures, find, _read_file, notes)


def _root(path: Path) -> Element:
    root = read_xml(path)
    if root.tag != 'annotation':
        raise LabelError(
            f'has the root <{root.tag}>, but VOC has <annotation>'
        )
    return root


def _splits(folder: Path) -> Dict[str, str]:
    """Splits by the stems of the pictures."""
    found: Dict[str, str] = {}
    for split in ('train', 'val', 'test'):
        for path in sorted(folder.glob(f'**/ImageSets/Main/{split}.txt')):
            for line in read_text(path).splitlines():
                if line.strip():
                    found[Path(line.strip()).stem] = split
    return found


def _read_file(file: LabelFile, picture: Picture) -> None:
    root = _root(file.path)
    stated = tuple(
        int(number(root.findtext(f'size/{side}', '0') or 0, side))
        for side in ('width', 'height')
    )
    raw = picture.is_raw(stated)
    for entry in root.iter('object'):
        label = (entry.findtext('name') or '').strip()
        if not label:
            raise LabelError('has an object without a name')
        box = [number(entry.findtext(f'bndbox/{s}'), s) for s in _SIDES]
        add_points(
            picture,
            label,
            [corners(*box)],
            only_box=True,
            raw=raw,
            ignored=entry.findtext('difficult', '0').strip() == '1',
        )
