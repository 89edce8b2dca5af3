"""Colours of masks and their classes."""

import colorsys
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmrep.data.forms.reading import (
    LabelError,
    check_different,
    read_text,
)
from mmrep.errors import UsageError, listed, one_line

IGNORED = 255
Colour = Tuple[int, int, int]
# Names of the palette files that labelling tools write with masks.
FILES = (
    *('palette.txt', 'labelmap.txt', 'label_colors.txt', 'class_dict.csv'),
    *('_classes.csv', 'palette.json', 'palette.csv', 'label_colours.txt'),
)
_VOID = {'void', 'ignore', 'ignored', 'unlabeled', 'unlabelled', 'unknown'}
_MUST = (
    'must have a name and a colour (three numbers from 0 to 255) in each line'
)
_NUMBER = re.compile(r'(?<![\w.])\d{1,3}(?![\w.])')


@dataclass
class Palette:
    """Classes in the order of their labels, each with a colour.

    Args:
        classes (list[str]): Their names.
        colours (list[tuple]): RGB colour of each class.
        ignored (list[tuple]): Colours of pixels without a class.
    """

    classes: List[str]
    colours: List[Colour]
    ignored: List[Colour]

    def labels(self) -> Dict[int, int]:
        """The label of each colour, as one number."""
        found = {code(c): i for i, c in enumerate(self.colours)}
        return {**{code(c): IGNORED for c in self.ignored}, **found}

    def text(self) -> str:
        """A line for each class and for each ignored colour."""
        lines = [
            f'{r} {g} {b} {name}'
            for (r, g, b), name in zip(self.colours, self.classes, strict=True)
        ]
        lines += [f'{r} {g} {b} void' for r, g, b in self.ignored]
        return '\n'.join(lines) + '\n'


def code(colour: Sequence[int]) -> int:
    """A colour as one number."""
    red, green, blue = map(int, colour)
    return red << 16 | green << 8 | blue


def uncode(value: int) -> Colour:
    """The colour of a number."""
    return value >> 16, value >> 8 & 255, value & 255


def codes(pixels: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) as numbers (H, W)."""
    wide = pixels[..., :3].astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def colours(count: int) -> List[Colour]:
    """Colours for classes without one, far from each other in hue."""
    found = []
    for i in range(count):
        hue = i * 0.618034 % 1
        value = (1.0, 0.75, 0.55)[i // 8 % 3]
        shares = colorsys.hsv_to_rgb(hue, 0.85, value)
        found.append(tuple(round(255 * share) for share in shares))
    return found


def make(pairs: Sequence[Tuple[str, Colour]]) -> Palette:
    """Make a palette of names and colours; 'void' and the like are ignored."""
    kept = [(n, c) for n, c in pairs if n.strip('_ ').lower() not in _VOID]
    void = [c for n, c in pairs if n.strip('_ ').lower() in _VOID]
    return Palette([n for n, _ in kept], [c for _, c in kept], void)


def find_file(folder: Path) -> Optional[Path]:
    """Find a palette file next to masks, under one of the common names."""
    paths = [folder / name for name in FILES]
    paths += [p for name in FILES for p in sorted(folder.glob(f'*/{name}'))]
    return next((path for path in paths if path.is_file()), None)


def read(path: Path) -> Palette:
    """Read a palette file.

    Each line has a name and three numbers from 0 to 255, in any order.
    Separators do not matter, so CVAT's ``labelmap.txt``, CamVid's
    ``label_colors.txt`` and ``class_dict.csv`` can all be read. A JSON file is
    a dict of names and colours.

    Raises:
        UsageError: If it is not a palette file.
    """
    try:
        text = read_text(path)
    except LabelError as error:
        raise UsageError(f'{path} {error}.') from error
    json_file = path.suffix.lower() == '.json'
    pairs = (_read_json if json_file else _read_lines)(path, text)
    if not pairs:
        raise UsageError(f'{path} {_MUST}, but has no such line.')
    colours = [colour for _, colour in pairs]
    again = dict.fromkeys(c for c in colours if colours.count(c) > 1)
    if again:
        raise UsageError(
            f'{path} must have a different colour for each class, but has '
            f'{listed(again)} more than once.'
        )
    palette = make(pairs)
    check_different(palette.classes, path)
    if not palette.classes:
        raise UsageError(
            f'{path} must name a class, but has only pixels to ignore: '
            f'{listed(name for name, _ in pairs)}.'
        )
    return palette


def _read_lines(path: Path, text: str) -> List[Tuple[str, Colour]]:
    pairs: List[Tuple[str, Colour]] = []
    wrong = []
    for i, line in enumerate(text.splitlines(), 1):
        found = _NUMBER.findall(line)
        header = not (pairs or wrong or found)
        if not line.strip() or line.lstrip().startswith('#') or header:
            continue
        rest = _NUMBER.sub(' ', line, count=3)
        name = ' '.join(re.sub(r'[,:;\t]+', ' ', rest).split())
        if not name or not _is_colour([*map(int, found[:3])]):
            wrong.append(f'line {i} is {line!r}')
        pairs.append((name, tuple(map(int, found[:3]))))
    if wrong:
        raise UsageError(f'{path} {_MUST}, but {listed(wrong)}.')
    return pairs


def _is_colour(values: Any) -> bool:
    return len(values) == 3 and all(
        type(v) is int and 0 <= v <= 255 for v in values
    )


def _read_json(path: Path, text: str) -> List[Tuple[str, Colour]]:
    must = 'a dict of names and colours, such as {"road": [128, 64, 128]}'
    try:
        # of a dict, names that are there twice would be lost
        pairs = json.loads(text, object_pairs_hook=lambda pairs: pairs)
        wrong = [
            f'{name!r} is {colour!r}'
            for name, colour in pairs
            if not (type(colour) is list and _is_colour(colour[:3]))
        ]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f'{path} must be {must}, but is not ({one_line(error)}).'
        ) from error
    if wrong:
        raise UsageError(f'{path} must be {must}, but {listed(wrong)}.')
    return [(str(name), tuple(colour[:3])) for name, colour in pairs]
