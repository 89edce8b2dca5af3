"""Masks: pictures whose colours, palette or numbers are the classes."""

from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageOps

from mmrep.data.forms import palette as palettes
from mmrep.data.forms.palette import IGNORED, Palette
from mmrep.data.forms.pictures import (
    MASK_FOLDERS,
    PICTURE_FOLDERS,
    Finder,
    LabelFile,
    Notes,
    Picture,
    list_pictures,
)
from mmrep.data.forms.reading import Source, progress, read_each
from mmrep.errors import UsageError, counted, listed, one_line

# Suffixes in the names of masks that are next to their pictures.
_ENDS = (
    *('_mask', '-mask', '_masks', '_label', '_labels', '_l', '_gt', '_seg'),
    *('_labelids', '_segmentation', '_annotation', '_color', '_colour'),
)
# More colours than this are not a palette: pictures, or masks saved as JPEG.
MOST = 255


class MaskFile(LabelFile):
    """A mask; it has the key of its picture."""


def split_files(
    folder: Path, labels: Optional[Path]
) -> Tuple[List[Picture], List[MaskFile]]:
    """Tell pictures and masks apart.

    Args:
        folder (Path): Where the pictures are.
        labels (Path, optional): Where the masks are. None if they are below
            the same folder: in their own folder, next to their pictures with a
            suffix such as ``_mask``, or as PNG next to JPEG.

    Raises:
        UsageError: If they cannot be told apart.
    """
    found = list_pictures(folder)
    if labels is not None:
        inside = labels.resolve()
        pictures = [p for p in found if inside not in p.path.resolve().parents]
        masks = [_as_mask(p) for p in list_pictures(labels)]
        return pictures, masks
    pictures, masks = [], []
    stems = Counter((p.path.parent, p.path.stem.lower()) for p in found)
    for picture in found:
        folders = {
            part.lower()
            for part in picture.path.relative_to(folder).parts[:-1]
        }
        stem = picture.path.stem.lower()
        end = next((e for e in _ENDS if stem.endswith(e)), '')
        beside = end and stems[picture.path.parent, stem[: -len(end)]]
        is_png = picture.path.suffix.lower() == '.png'
        if folders & MASK_FOLDERS and not folders & PICTURE_FOLDERS:
            masks.append(_as_mask(picture, end))
        elif beside:
            masks.append(_as_mask(picture, end))
        elif is_png and stems[picture.path.parent, stem] == 2:
            masks.append(_as_mask(picture))
        else:
            pictures.append(picture)
    if not masks or not pictures:
        raise UsageError(
            f'{folder} must hold pictures and masks, either in folders such '
            'as images and masks or side by side with names such as a.jpg '
            f'and a_mask.png, but only {"pictures" if pictures else "masks"} '
            f'were found, e.g. {found[0].path}; say where the masks are with '
            '--labels.'
        )
    return pictures, masks


def _as_mask(picture: Picture, end: str = '') -> MaskFile:
    *folders, stem = picture.key
    stem = stem[: -len(end)] if end else stem
    return MaskFile(picture.path, (*folders, stem), picture.split)


def read_mask(path: Path) -> Image.Image:
    """A mask, loaded.

    Raises:
        UsageError: If it is not a picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # Pillow's readers raise various errors
        reason = one_line(error, first=True)
        raise UsageError(f'cannot be read ({reason})') from error


class MaskReader:
    """Turns masks into label maps, all by the same rule.

    Coloured masks are looked up in a palette. For masks with their own palette
    and for grey ones, the numbers are the labels, unless a palette is given or
    the numbers are grey tones.

    Args:
        masks (Sequence[MaskFile]): All masks.
        palette (Palette, optional): Palette from a file. Defaults to None.
        classes (Sequence[str]): Names of the labels. Defaults to ().

    Raises:
        UsageError: If they are of different kinds, or have too many colours.
    """

    def __init__(
        self,
        masks: Sequence[MaskFile],
        palette: Optional[Palette] = None,
        classes: Sequence[str] = (),
    ) -> None:
        counts: Counter = Counter()
        kinds: Dict[bool, Path] = {}
        self.own: Dict[int, palettes.Colour] = {}
        for mask in progress(masks, 'Looking at masks'):
            try:
                image = read_mask(mask.path)
            except UsageError:  # reported when it is converted
                continue
            numbers = self._numbers(image, palette is not None)
            kinds.setdefault(numbers is None, mask.path)
            values = palettes.codes(np.asarray(image.convert('RGB')))
            values = values if numbers is None else numbers
            found, sizes = np.unique(values, return_counts=True)
            counts.update(
                dict(zip(found.tolist(), sizes.tolist(), strict=True))
            )
            if len(counts) > MOST + 1:
                raise UsageError(
                    'masks must have one colour for each class, at most '
                    f'{MOST}, and {len(counts)} were found up to {mask.path}; '
                    'check that they are masks, and export them as PNG '
                    'without smoothed borders (JPEG blurs colours).'
                )
        if len(kinds) > 1:
            raise UsageError(
                f'masks must be of one kind, but {kinds[True]} is coloured, '
                f'{kinds[False]} has numbers; give --palette to read all of '
                'them by their colours.'
            )
        if not counts:
            raise UsageError(
                f'no mask can be read; the first is {masks[0].path}.'
            )
        self.coloured = True in kinds
        self.counts = counts
        self.palette = palette or self._find(classes)
        self.table = self._table()

    def _numbers(
        self, image: Image.Image, by_colour: bool
    ) -> Optional[np.ndarray]:
        """The labels of a mask with numbers, or None for a coloured one."""
        if by_colour or image.mode in ('RGB', 'RGBA', 'CMYK', 'YCbCr', 'LA'):
            return None
        if image.mode == 'P':
            table = image.getpalette() or []
            for i in range(len(table) // 3):
                self.own.setdefault(i, tuple(table[3 * i : 3 * i + 3]))
        return np.asarray(image).astype(np.int64)

    def _find(self, classes: Sequence[str]) -> Palette:
        """Make a palette of the colours or numbers in the masks."""
        values = sorted(self.counts)
        if self.coloured:
            colours = [palettes.uncode(v) for v in values]
            names = [
                'background' if not any(c) else 'colour_{}_{}_{}'.format(*c)
                for c in colours
            ]
        else:
            if max(values) > IGNORED:
                raise UsageError(
                    'labels must be 0 to 255, but the masks have '
                    f'{max(values)}.'
                )
            if values != [0, IGNORED]:  # 255 means ignored
                values = [v for v in values if v != IGNORED]
            if not self._are_tones(values):
                values = list(range(max(values, default=0) + 1))
            some = [(0, 0, 0), *palettes.colours(255)]
            colours = [self.own.get(v, some[v]) for v in values]
            names = [f'class_{v}' for v in values]
            if len(set(colours)) < len(colours):  # a palette of one colour
                colours = some[: len(values)]
        if classes:
            if len(classes) != len(values):
                raise UsageError(
                    f'--classes must name {len(values)} classes, as many as '
                    f'the masks have, got {len(classes)}.'
                )
            names = list(classes)
        if not self.coloured:
            self.colours = dict(zip(values, colours, strict=True))
        return palettes.make(list(zip(names, colours, strict=True)))

    def _are_tones(self, values: List[int]) -> bool:
        """Whether numbers are shades of grey, and not labels with gaps."""
        return not self.own and max(values, default=0) >= 2 * len(values)

    def _table(self) -> Dict[int, int]:
        labels = self.palette.labels()
        if self.coloured:
            return labels
        table = {v: labels[palettes.code(c)] for v, c in self.colours.items()}
        return {IGNORED: IGNORED, **table}

    def __call__(self, mask: MaskFile, picture: Picture) -> np.ndarray:
        """The label map of a mask.

        Args:
            mask (MaskFile): The mask.
            picture (Picture): Its picture, whose size is known.

        Returns:
            np.ndarray: Shape (H, W), uint8, for the picture as shown.

        Raises:
            UsageError: If it has another size, or colours that the palette
                does not have.
        """
        image = read_mask(mask.path)
        if image.getexif().get(274):
            image = ImageOps.exif_transpose(image)
        if picture.is_raw(image.size):
            image = _turned(image, picture.orientation)
        if self.coloured:
            values = palettes.codes(np.asarray(image.convert('RGB')))
        else:
            values = np.asarray(image).astype(np.int64)
        found, inverse = np.unique(values, return_inverse=True)
        unknown = [v for v in found.tolist() if v not in self.table]
        if unknown:
            shown = listed(
                palettes.uncode(v) if self.coloured else v for v in unknown
            )
            pixels = int(np.isin(values, unknown).sum())
            raise UsageError(
                f'{mask.path} must have the colours of the palette, but has '
                f'{len(unknown)} more, {shown}, in '
                f'{counted(pixels, "pixel")}; add them to the '
                'palette file, with the name void if they are not a class.'
            )
        lookup = np.array([self.table[v] for v in found.tolist()], np.uint8)
        return lookup[inverse].reshape(values.shape)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """Rotate a mask of the pixels in the file as its picture is shown."""
    exif = image.getexif()
    exif[274] = orientation
    return ImageOps.exif_transpose(image)


def read(
    folder: Path,
    labels: Optional[Path],
    palette: Optional[Path],
    classes: Sequence[str],
    notes: Notes,
) -> Tuple[Source, MaskReader, Dict[int, MaskFile]]:
    """Find the pictures, their masks and the palette.

    Returns:
        tuple: The pictures without objects, the reader of masks, and the masks
            by the ``id()`` of their picture.
    """
    pictures, masks = split_files(folder, labels)
    path = palette or palettes.find_file(labels or folder)
    found = None if path is None else palettes.read(path)
    finder = Finder(pictures)
    pairs: Dict[int, MaskFile] = {}

    def keep(mask: MaskFile, picture: Picture) -> None:
        pairs[id(picture)] = mask
        size = read_mask(mask.path).size
        if size != picture.size:
            picture.is_raw(size)

    source = read_each(
        'masks',
        masks,
        pictures,
        finder.find,
        keep,
        notes,
    )
    used = [pairs[id(picture)] for picture in source.pictures]
    reader = MaskReader(used, found, classes)
    source.classes = reader.palette.classes
    return source, reader, pairs
