"""Contents of a converted data set: labels, classes, sizes, objects."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

from mmrep.data.coco.annotations import check_annotations
from mmrep.data.coco.file import CocoFile
from mmrep.data.forms import find_forms
from mmrep.data.forms import palette as palettes
from mmrep.data.forms.masks import read_mask
from mmrep.data.forms.pictures import (
    SPLITS,
    SUFFIXES,
    Picture,
    list_files,
    place,
    split_of_name,
)
from mmrep.errors import UsageError

# Most pictures and label maps to open; if there are more, a sample is.
_SAMPLE = 200


@dataclass
class Survey:
    """A data set.

    Args:
        root (Path): Its folder.
        form (str): 'label maps', 'boxes' or 'boxes and masks'.
        classes (list[str]): Their names.
        palette (list[tuple]): An RGB colour of each class.
        images (dict): For each split, the folder of its pictures.
        labels (dict): For each split, the annotation file or folder.
        counts (dict): For each split, the number of pictures.
        size (tuple): Width and height that half of the pictures reach.
        largest (tuple): The largest width and height.
        suffix (str): Suffix of the pictures, for label maps.
        objects (tuple): The 10th, 50th and 90th percentile of the square root
            of the area, in pixels, of the training objects.
        most (int): Largest number of objects in a picture.
        empty (int): Number of training pictures without an object.
        amounts (dict): Number of training objects, or pixels, of each class.
    """

    root: Path
    form: str
    classes: List[str]
    palette: List[Tuple[int, int, int]]
    images: Dict[str, str]
    labels: Dict[str, str]
    counts: Dict[str, int]
    size: Tuple[int, int] = (0, 0)
    largest: Tuple[int, int] = (0, 0)
    suffix: str = ''
    objects: Tuple[float, float, float] = (0, 0, 0)
    most: int = 0
    empty: int = 0
    amounts: Dict[str, int] = field(default_factory=dict)


def survey(folder: str) -> Survey:
    """Examine a folder with the layout that ``mmrep data convert`` writes.

    Raises:
        UsageError: If it has another layout.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f'{root} must be a folder, but is not.')
    files = {
        split_of_name(path.stem) or '': path
        for path in sorted((root / 'annotations').glob('*.json'))
    }
    files = {s: files[s] for s in SPLITS if s in files}
    if files:
        found = _survey_coco(root, files)
    elif (root / 'annotations').is_dir() and (root / 'images').is_dir():
        found = _survey_label_maps(root)
    else:
        form = ' and '.join(find_forms(root)[:1])
        raise UsageError(
            f'{root} must hold images and annotations, as mmrep data convert '
            f'writes them; {"it looks like" if form else "to convert it:"} '
            f'{form + ", so " if form else ""}mmrep data convert '
            f'{form or "FORM"} {root} OUT.'
        )
    for split in ('train', 'val'):
        if not found.counts.get(split):
            few = sum(found.counts.values()) < 2
            todo = (
                'label more pictures, at least one for each, and convert again'
                if few
                else 'convert it with --split 0.8 0.1 0.1'
            )
            raise UsageError(
                f'{root} must hold pictures of train and val, but has none of '
                f'{split}; {todo}.'
            )
    return found


def _survey_coco(root: Path, files: Dict[str, Path]) -> Survey:
    read = {
        split: CocoFile(str(path), needs_boxes=True)
        for split, path in files.items()
    }
    train = read.get('train') or next(iter(read.values()))
    classes = train.names()
    for file in read.values():
        file.check_categories()
        if file.names() != classes:
            raise UsageError(
                'the files of all splits must have the same categories, but '
                f'{file.path} has other categories than {train.path}.'
            )
    check_annotations(train, masks=False)
    masks = bool(train.annotations) and all(
        entry.get('segmentation') for entry in train.annotations
    )
    areas = [
        entry['bbox'][2] * entry['bbox'][3] for entry in train.annotations
    ]
    per_image = Counter(entry['image_id'] for entry in train.annotations)
    names = {c['id']: c['name'] for c in train.categories}
    amounts = Counter({name: 0 for name in classes})
    amounts.update(names[e['category_id']] for e in train.annotations)
    found = Survey(
        root,
        'boxes and masks' if masks else 'boxes',
        classes,
        palettes.colours(len(classes)),
        {split: _folder_of(root, split, f) for split, f in read.items()},
        {s: path.relative_to(root).as_posix() for s, path in files.items()},
        {split: len(file.images) for split, file in read.items()},
        amounts=dict(amounts),
    )
    _set_sizes(found, [(i['width'], i['height']) for i in train.images])
    if areas:
        low, half, high = np.quantile(np.sqrt(areas), (0.1, 0.5, 0.9))
        found.objects = float(low), float(half), float(high)
    found.most = max(per_image.values(), default=0)
    found.empty = len(train.images) - len(per_image)
    return found


def _folder_of(root: Path, split: str, file: CocoFile) -> str:
    """The folder with the pictures of a file."""
    if not file.images:
        return f'images/{split}'
    name = file.images[0]['file_name']
    places = [f'images/{split}', split, f'{split}2017', 'images', '.']
    for folder in places:
        if (root / folder / name).is_file():
            return folder
    raise UsageError(
        f'the pictures of {file.path} must be in one of {", ".join(places)} '
        f'of {root}, and {name} is in none.'
    )


def _set_sizes(found: Survey, sizes: Sequence[Tuple[int, int]]) -> None:
    if sizes:
        median = np.median(np.array(sizes), 0)
        found.size = int(median[0]), int(median[1])
        found.largest = max(w for w, _ in sizes), max(h for _, h in sizes)


def _survey_label_maps(root: Path) -> Survey:
    pictures: Dict[str, List[Path]] = {}
    folders: Dict[str, str] = {}
    for path in list_files(root / 'images'):
        split, _ = place(path, root / 'images')
        if path.suffix.lower() in SUFFIXES and split:
            pictures.setdefault(split, []).append(path)
            parent = path.relative_to(root / 'images').parts[0]
            folders.setdefault(split, parent)
    suffixes = {path.suffix for paths in pictures.values() for path in paths}
    if len(suffixes) != 1:
        raise UsageError(
            f'the pictures in {root}/images/train, val and test must have one '
            f'suffix, but have {", ".join(sorted(suffixes)) or "none"}; mmrep '
            'data convert masks gives them the same one.'
        )
    train = pictures.get('train', [])
    step = len(train) // _SAMPLE + 1
    counts, sizes = np.zeros(256, np.int64), []
    for path in train[::step]:
        picture = Picture(path, (path.stem,))
        picture.read_size()
        sizes.append(picture.size)
        relative = path.relative_to(root / 'images').with_suffix('.png')
        label_path = root / 'annotations' / relative
        try:
            image = read_mask(label_path)
        except UsageError as error:
            raise UsageError(f'the label map {label_path} {error}.') from error
        labels = np.asarray(image)
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise UsageError(
                f'{label_path} must be a label map with one number for each '
                f'pixel, but is coloured; mmrep data convert masks {root} OUT.'
            )
        counts += np.bincount(labels.ravel(), minlength=256)
    palette_file = root / 'palette.txt'
    if palette_file.is_file():
        palette = palettes.read(palette_file)
        classes, colours = palette.classes, palette.colours
    else:
        count = int(np.flatnonzero(counts[: palettes.IGNORED]).max()) + 1
        classes = [f'class_{i}' for i in range(count)]
        colours = palettes.colours(count)
    used = np.flatnonzero(counts[: palettes.IGNORED])
    if len(used) and used.max() >= len(classes):
        raise UsageError(
            f'{palette_file} must have a line for each label, but has '
            f'{len(classes)}, while the label maps have {used.max()}.'
        )
    found = Survey(
        root,
        'label maps',
        classes,
        colours,
        {s: f'images/{folders[s]}' for s in SPLITS if s in folders},
        {s: f'annotations/{folders[s]}' for s in SPLITS if s in folders},
        {s: len(pictures[s]) for s in SPLITS if s in pictures},
        suffix=suffixes.pop(),
        amounts={n: int(counts[i]) for i, n in enumerate(classes)},
    )
    _set_sizes(found, sizes)
    return found
