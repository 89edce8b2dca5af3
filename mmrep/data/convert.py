"""Convert the format of a labelling tool to the one that configs read.

OUT has ``images/{train,val,test}`` and either
``annotations/{train,val,test}.json`` in COCO format, or label maps in
``annotations/{train,val,test}`` with their classes in ``palette.txt``.
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageOps

from mmrep.data import splitting
from mmrep.data.forms import READERS, masks, read_source
from mmrep.data.forms import palette as palettes
from mmrep.data.forms.pictures import Notes, Picture
from mmrep.data.forms.reading import KEEP, Source, check_different, progress
from mmrep.data.forms.shapes import area_of, clip, draw
from mmrep.errors import UsageError, counted, listed
from mmrep.files import new_folder, write_json

FORMS = (*READERS, 'masks')
RATIOS = (0.8, 0.1, 0.1)
_JPEG = ('.jpg', '.jpeg', '.jpe', '.jfif')
_BACKGROUND = ('background', '_background_', '__background__', 'bg')
# LabelMe's name for pixels without a class
_IGNORED = ('__ignore__', '_ignore_', 'ignore', 'void')


@dataclass
class Result:
    """Result of a conversion.

    Args:
        pictures (dict): Number of pictures in each split.
        classes (dict): Number of objects (or pixels of label maps) of each
            class.
        notes (list[str]): What was skipped or changed.
    """

    pictures: Dict[str, int]
    classes: Dict[str, int]
    notes: List[str] = field(default_factory=list)


def convert(
    form: str,
    src: str,
    out: str,
    labels: Optional[str] = None,
    to_masks: bool = False,
    palette: Optional[str] = None,
    classes: Sequence[str] = (),
    ratios: Optional[Sequence[float]] = None,
    seed: int = 0,
    keep_unlabelled: bool = False,
) -> Result:
    """Convert a data set.

    Args:
        form (str): One of :data:`FORMS`.
        src (str): Folder with the pictures and the labels.
        out (str): Folder to make.
        labels (str, optional): Folder with the labels, if they are not below
            ``src``. Defaults to None.
        to_masks (bool): Draw the objects as label maps. Defaults to False.
        palette (str, optional): A palette file, for masks. Defaults to None.
        classes (Sequence[str]): Names of the classes, in the order of their
            labels. Defaults to those that are found.
        ratios (Sequence[float], optional): Shares of train, val and test.
            Defaults to None, which keeps the splits of the source, or uses
            :data:`RATIOS` if it has none.
        seed (int): Seed of the split. Defaults to 0.
        keep_unlabelled (bool): Keep pictures without labels as pictures with
            nothing in them. Defaults to False.

    Returns:
        Result: Counts and notes.

    Raises:
        UsageError: If the source cannot be used, or ``out`` exists.
    """
    if ratios is not None:
        _check_ratios(ratios)
    folder, target = Path(src), Path(out)
    label_folder = Path(labels) if labels else folder
    for path in (folder, label_folder):
        if not path.is_dir():
            raise UsageError(f'{path} must be a folder, but is not.')
    _check_target(target, folder, label_folder)
    check_different(classes, '--classes')
    notes = Notes()
    if form == 'masks':
        if keep_unlabelled:
            raise UsageError(
                '--keep-unlabelled works only with objects; a picture '
                'without a mask has no labels to learn.'
            )
        source, reader, pairs = masks.read(
            folder,
            label_folder if labels else None,
            Path(palette) if palette else None,
            classes,
            notes,
        )
    else:
        source = read_source(form, folder, label_folder, notes, [*classes])
        if classes:
            _check_known(source, classes)
            source.classes = [*classes]
        if not source.classes:
            raise UsageError(f'no object has a class in {label_folder}.')
        for picture in source.pictures:
            clip(picture, notes)
        _check_labelled(source, label_folder, notes)
    _note_unlabelled(source, keep_unlabelled, notes)
    _split(source.pictures, ratios, seed, notes)
    _check_names(source.pictures, to_masks or form == 'masks')
    with new_folder(target) as partial:
        if form == 'masks':
            counts = _write_masks(
                source.pictures,
                partial,
                reader.palette,
                lambda picture: reader(pairs[id(picture)], picture),
                notes,
            )
        elif to_masks:
            counts = _draw_masks(source, partial, notes)
        else:
            counts = _write_coco(source, partial, notes)
    splits = Counter(picture.split for picture in source.pictures)
    return Result(
        {s: splits[s] for s in splitting.SPLITS if splits[s]},
        counts,
        notes.lines(),
    )


def _check_target(target: Path, folder: Path, labels: Path) -> None:
    inner = target.resolve()
    for path in (folder, labels):
        if inner == path.resolve():
            raise UsageError(
                f'OUT must be another folder than SRC, got {target} for both.'
            )
        if path.resolve() in inner.parents:
            raise UsageError(
                'OUT must be outside SRC, because the next conversion would '
                f'read its pictures too; got {target} in {path}.'
            )
    if target.exists() or target.is_symlink():
        raise UsageError(
            f'OUT must not exist yet, but {target} does; give another folder, '
            'or remove it.'
        )
    parent = inner.parent
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise UsageError(
            f'OUT must be a folder that can be written, but {parent} cannot '
            'be.'
        )


def _check_known(source: Source, classes: Sequence[str]) -> None:
    for picture in source.pictures:
        for item in picture.items:
            if item.label not in classes:
                raise UsageError(
                    '--classes must name every class of the labels, but '
                    f'{item.label!r} of {picture.path} is not among '
                    f'{", ".join(classes)}.'
                )


def _check_labelled(source: Source, labels: Path, notes: Notes) -> None:
    items = [item for picture in source.pictures for item in picture.items]
    if any(
        not item.ignored and item.label.lower() not in _IGNORED
        for item in items
    ):
        return
    raise UsageError(
        '; '.join(
            (
                f'{labels} must label an object to train, but has none in '
                f'{counted(len(source.pictures), "picture")} with a label '
                'file',
                *notes.lines(),
            )
        )
        + '.'
    )


def _check_ratios(ratios: Sequence[float]) -> None:
    if ratios[0] > 0 and min(ratios) >= 0 and abs(sum(ratios) - 1) < 0.01:
        return
    raise UsageError(
        '--split must give three shares that add up to 1, with train above 0, '
        f'such as 0.8 0.1 0.1; got {" ".join(f"{r:g}" for r in ratios)}.'
    )


def _note_unlabelled(source: Source, keep: bool, notes: Notes) -> None:
    for picture in source.unlabelled:
        if not keep:
            notes.add(
                f'pictures without labels skipped ({KEEP})', picture.path
            )
            continue
        try:
            picture.read_size()
        except UsageError as error:
            notes.add('broken pictures skipped', f'{picture.path} {error}')
            continue
        source.pictures.append(picture)
    names = Counter(name.lower() for name in source.classes)
    for name in source.classes:
        if names[name.lower()] > 1:
            notes.add('classes whose names differ only in case', name)


def _check_names(pictures: Sequence[Picture], maps: bool) -> None:
    """Check that no two pictures, or label maps, get the same name."""
    found: Dict[Tuple[Optional[str], str], Path] = {}
    for picture in pictures:
        name = '/'.join(picture.key) if maps else picture.name
        other = found.setdefault((picture.split, name), picture.path)
        if other is not picture.path:
            raise UsageError(
                f'pictures must have different names, but {other} and '
                f'{picture.path} have the same name; rename one of them.'
            )


def _split(
    pictures: Sequence[Picture],
    ratios: Optional[Sequence[float]],
    seed: int,
    notes: Notes,
) -> None:
    """Assign a split to each picture."""
    own = {picture.split for picture in pictures}
    if ratios is None and own >= {'train', 'val'}:
        pictures = [p for p in pictures if p.split is None]
        if not pictures:
            return
        for picture in pictures:
            notes.add('pictures in no split of the source', picture.path)
        ratios = RATIOS if 'test' in own else (*RATIOS[:2], 0)
    if ratios is None and own == {'train', 'test'}:
        notes.say('the source has no val split, so it is taken from train')
        pictures = [p for p in pictures if p.split == 'train']
        ratios = (*RATIOS[:2], 0)
    names = {id(picture): _split_name(picture) for picture in pictures}
    found, moved = splitting.split(
        [*dict.fromkeys(names.values())], ratios or RATIOS, seed
    )
    for picture in pictures:
        picture.split = found[names[id(picture)]]
    for name in moved:
        notes.add(
            'pictures moved to another split, so that their numbers are '
            'nearest to the shares; they may move back when others are added',
            f'{name} to {found[name]}',
        )


def _split_name(picture: Picture) -> str:
    return '/'.join(filter(None, (picture.split, *picture.key)))


def _copy(picture: Picture, folder: Path, suffix: Optional[str]) -> None:
    """Copy a picture, or rewrite it if it needs another suffix."""
    place = folder / 'images' / str(picture.split) / picture.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if suffix is None:
        shutil.copyfile(picture.path, place)
        return
    place = place.with_name('.'.join((picture.key[-1], suffix[1:])))
    same = picture.path.suffix.lower() == suffix or (
        suffix == '.jpg' and picture.path.suffix.lower() in _JPEG
    )
    if same:
        shutil.copyfile(picture.path, place)
        return
    with Image.open(picture.path) as image:
        shown = ImageOps.exif_transpose(image)
        if shown.mode not in ('L', 'RGB', 'I;16'):
            shown = shown.convert('RGB')
        shown.save(place, 'PNG')


def _write_coco(source: Source, folder: Path, notes: Notes) -> Dict[str, int]:
    """Write the pictures, and a file in COCO format for each split."""
    names = [n for n in source.classes if n.lower() not in _IGNORED]
    ids = {name: i for i, name in enumerate(names, 1)}
    content: Dict[str, Dict[str, list]] = {}
    counts = Counter({name: 0 for name in names})
    for picture in progress(source.pictures, 'Writing'):
        _copy(picture, folder, None)
        lists = content.setdefault(
            str(picture.split), dict(images=[], annotations=[])
        )
        image = dict(
            id=len(lists['images']) + 1,
            file_name=picture.name,
            width=picture.size[0],
            height=picture.size[1],
        )
        lists['images'].append(image)
        for item in picture.items:
            if item.label not in ids:
                notes.add(
                    f'objects skipped, labelled {item.label}', picture.name
                )
                continue
            x1, y1, x2, y2 = item.box
            counts[item.label] += 1
            if item.ignored:
                notes.add(
                    'objects marked as difficult or crowd, not used for '
                    'training or scores',
                    f'{item.label} in {picture.name}',
                )
            entry: Dict[str, Any] = dict(
                id=len(lists['annotations']) + 1,
                image_id=image['id'],
                category_id=ids[item.label],
                bbox=[round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                area=round(area_of(item), 2),
                iscrowd=int(item.ignored),
                segmentation=_rounded(item.segmentation),
            )
            lists['annotations'].append(entry)
    categories = [dict(id=i, name=name) for name, i in ids.items()]
    for split, lists in content.items():
        write_json(
            folder / 'annotations' / f'{split}.json',
            dict(**lists, categories=categories),
        )
    return dict(counts)


def _rounded(segmentation: Any) -> Any:
    if isinstance(segmentation, dict):
        return segmentation
    return [[round(v, 2) for v in polygon] for polygon in segmentation]


def _draw_masks(source: Source, folder: Path, notes: Notes) -> Dict[str, int]:
    """Write label maps of the objects' polygons, later ones on top.

    Pixels without an object are 'background', label 0.
    """
    names = [n for n in source.classes if n.lower() not in _IGNORED]
    ground = next((n for n in names if n.lower() in _BACKGROUND), 'background')
    names = [ground, *[n for n in names if n != ground]]
    values = {name: i for i, name in enumerate(names)}

    def label_map(picture: Picture) -> np.ndarray:
        width, height = picture.size
        labels = np.zeros((height, width), np.uint8)
        for item in picture.items:
            where = f'{item.label} in {picture.name}'
            if not item.segmentation:
                notes.add(
                    'objects skipped because a box has no outline', where
                )
                continue
            value = values.get(item.label, palettes.IGNORED)
            if item.ignored:
                value = palettes.IGNORED
            labels[draw(item, picture.size) > 0] = value
        return labels

    if not any(item.segmentation for p in source.pictures for item in p.items):
        raise UsageError(
            '--to masks needs polygons or masks, but the labels have only '
            'boxes; omit it to train a detector.'
        )
    if len(names) > palettes.IGNORED:
        raise UsageError(
            f'label maps may have at most {palettes.IGNORED} classes, got '
            f'{len(names)}.'
        )
    colours = [(0, 0, 0), *palettes.colours(len(names) - 1)]
    palette = palettes.Palette(names, colours, [])
    return _write_masks(source.pictures, folder, palette, label_map, notes)


def _write_masks(
    pictures: List[Picture],
    folder: Path,
    palette: palettes.Palette,
    label_map: Callable[[Picture], np.ndarray],
    notes: Notes,
) -> Dict[str, int]:
    """Write pictures with the same suffix, label maps, and the palette."""
    suffixes = {
        '.jpg' if s in _JPEG else s
        for s in (p.path.suffix.lower() for p in pictures)
    }
    suffix = suffixes.pop() if len(suffixes) == 1 else '.png'
    if suffix not in ('.jpg', '.png'):
        suffix = '.png'
    counts = np.zeros(256, np.int64)
    for picture in progress(pictures, 'Writing'):
        labels = label_map(picture)
        counts += np.bincount(labels.ravel(), minlength=256)
        _copy(picture, folder, suffix)
        if picture.path.suffix.lower() not in (suffix, *_JPEG):
            notes.add(f'pictures rewritten as {suffix}', picture.path)
        elif suffix == '.png' and picture.path.suffix.lower() in _JPEG:
            notes.add('pictures rewritten as .png', picture.path)
        *folders, stem = picture.key
        place = Path(folder, 'annotations', str(picture.split), *folders)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(place / f'{stem}.png')
    (folder / 'palette.txt').write_text(palette.text(), encoding='utf-8')
    found = {n: int(counts[i]) for i, n in enumerate(palette.classes)}
    if not any(found.values()):
        raise UsageError(
            f'masks must have pixels of {listed(palette.classes)}, but all '
            f'pixels of {counted(len(pictures), "mask")} are void or 255.'
        )
    if counts[palettes.IGNORED]:
        share = counts[palettes.IGNORED] / counts.sum()
        notes.say(f'{share:.1%} of all pixels are ignored (255)')
    return found
