"""Reading label files that somebody else made."""

import json
from pathlib import Path
from typing import Any, List
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from mmrep.errors import UsageError, one_line


class LabelError(UsageError):
    """A label file cannot be used; the text goes on after its name."""


def read_text(path: Path) -> str:
    """A text in UTF-8, also with a mark in front.

    Raises:
        LabelError: If it is none.
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f'cannot be read ({one_line(error)})') from error


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        LabelError: If it is none.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise LabelError(f'is no JSON ({one_line(error)})') from error


def read_xml(path: Path) -> Element:
    """The root of an XML file; entities are refused, not expanded.

    A few lines of them can grow to gigabytes, or name other files.

    Raises:
        LabelError: If it is none, or declares entities.
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
        raise LabelError(f'is no XML ({one_line(error)})') from error


def _refuse_entity(name: str, *_: Any) -> None:
    raise LabelError(
        f'declares an entity, {name!r}, and label files need none'
    )


def number(text: Any, what: str) -> float:
    """A number of a label file.

    Raises:
        LabelError: If it is none.
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
        LabelError: If there are fewer than ``least``, or they are no points.
    """
    if not isinstance(values, list) or len(values) < least:
        raise LabelError(f'has a shape that is not of {least} points or more')
    if not all(isinstance(v, (list, tuple)) and len(v) == 2 for v in values):
        raise LabelError('has points that are not [x, y]')
    return [(number(x, 'x'), number(y, 'y')) for x, y in values]
