"""Read label files: code shared by the readers of all formats."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rich.console import Console
from rich.progress import track

from mmrep.data.coco.file import repeated
from mmrep.data.forms.pictures import Ambiguous, Notes, Picture
from mmrep.errors import UsageError, listed, one_line

KEEP = '--keep-unlabelled keeps them as pictures with nothing in them'


class LabelError(UsageError):
    """A label file cannot be used; the text continues after its name."""


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without a byte order mark.

    Raises:
        LabelError: If it is not text in UTF-8.
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f'cannot be read ({one_line(error)})') from error


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        LabelError: If it is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise LabelError(f'is not valid JSON ({one_line(error)})') from error


def read_xml(path: Path) -> Element:
    """The root of an XML file; entities are refused, not expanded.

    A few lines of entities can expand to gigabytes, or name other files.

    Raises:
        LabelError: If it is not XML, or declares entities.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except OSError as error:
        raise LabelError(f'cannot be read ({one_line(error)})') from error
    except expat.ExpatError as error:
        raise LabelError(f'is not valid XML ({one_line(error)})') from error


def _refuse_entity(name: str, *_: Any) -> None:
    raise LabelError(
        f'declares the entity {name!r}, which label files do not need'
    )


def number(text: Any, what: str) -> float:
    """A number of a label file.

    Raises:
        LabelError: If it is not a number.
    """
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        got = 'none' if text is None else repr(text)
        raise LabelError(
            f'must have a number for {what}, got {got}'
        ) from error


def points_of(values: Any, least: int) -> List[tuple]:
    """Points of a label file, [[x, y], ...].

    Raises:
        LabelError: If there are fewer than ``least``, or they are not points.
    """
    if not isinstance(values, list) or len(values) < least:
        raise LabelError(f'has a shape without {least} points or more')
    if not all(isinstance(v, (list, tuple)) and len(v) == 2 for v in values):
        raise LabelError('has points that are not [x, y]')
    return [(number(x, 'x'), number(y, 'y')) for x, y in values]


@dataclass
class Source:
    """A data set as it was read.

    Args:
        classes (list[str]): Names in the order of the format.
        pictures (list[Picture]): Pictures with labels, each with its objects.
        unlabelled (list[Picture]): Pictures without labels.
        palette (dict): RGB colours by name, if the format has them.
    """

    classes: List[str]
    pictures: List[Picture]
    unlabelled: List[Picture]
    palette: Dict[str, Sequence[int]] = field(default_factory=dict)


def check_different(names: Sequence[str], where: object) -> None:
    """Check that no class has the name of another.

    Raises:
        UsageError: With the names and ``where`` they stand.
    """
    twice = dict.fromkeys(repeated(names))
    if twice:
        raise UsageError(
            f'{where} must name each class once, but has {listed(twice)} more '
            'than once.'
        )


def progress(items: Sequence, text: str) -> Any:
    """Iterate over items with a progress bar on standard error."""
    return track(items, text, console=Console(stderr=True))


def read_each(
    form: str,
    files: Sequence[Any],
    pictures: List[Picture],
    find: Callable[[Any], Optional[Picture]],
    read: Callable[[Any, Picture], None],
    notes: Notes,
    classes: Sequence[str] = (),
) -> Source:
    """Read a label file for each picture.

    If a label file is wrong, its picture is skipped with a note; it does not
    count as a picture without objects.

    Args:
        form (str): Name of the format.
        files (Sequence[LabelFile]): The label files.
        pictures (list[Picture]): The pictures.
        find (callable): Finds the picture of a file.
        read (callable): Reads a file into its picture; may raise UsageError.
        notes (Notes): Receives what was skipped.
        classes (Sequence[str]): Names in the order of the format. Defaults to
            (), the sorted names of the objects.

    Raises:
        Ambiguous: If it is not clear which labels a picture has.
        UsageError: If nothing is left.
    """
    done: Dict[int, Picture] = {}
    owners: Dict[int, Any] = {}
    broken = set()
    reasons = []
    for file in progress(files, f'Reading {form}'):
        picture = None
        wrong, kind = file.path, 'wrong label files skipped'
        try:
            picture = find(file)
            if picture is None:
                notes.add('label files without a picture skipped', file.path)
                continue
            other = owners.setdefault(id(picture), file)
            if other is not file:
                raise Ambiguous(
                    'a picture must have one label file, but '
                    f'{picture.path} has {other.path} and {file.path}; remove '
                    'one of them, or give a folder with --labels.'
                )
            wrong, kind = picture.path, 'broken pictures skipped'
            picture.read_size()
            wrong, kind = file.path, 'wrong label files skipped'
            read(file, picture)
            done[id(picture)] = picture
        except Ambiguous:
            raise
        except UsageError as error:
            reasons.append(f'{wrong} {error}')
            notes.add(kind, reasons[-1])
            broken.add(id(picture))
    if not done:
        if reasons:
            raise UsageError(
                f'no picture and its labels can be used: {reasons[0]}.'
            )
        raise UsageError(
            'labels must have the names of their pictures, but none of '
            f'{len(files)} label files belongs to one of {len(pictures)} '
            f'pictures, e.g. {files[0].path} and {pictures[0].path}.'
        )
    read_pictures = [p for p in pictures if id(p) in done]
    found = {item.label for p in read_pictures for item in p.items}
    return Source(
        list(classes) or sorted(found),
        read_pictures,
        [p for p in pictures if id(p) not in done and id(p) not in broken],
    )
