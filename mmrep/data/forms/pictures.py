"""Pictures of a folder, their label files, and their objects."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

from PIL import Image

from mmrep.errors import UsageError, one_line

SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff'),
    *('.webp', '.ppm', '.pgm'),
)
SPLITS = ('train', 'val', 'test')
_SPLIT_NAMES = dict(
    train='train',
    training='train',
    train2017='train',
    val='val',
    valid='val',
    validation='val',
    val2017='val',
    test='test',
    testing='test',
    test2017='test',
)
# Folder names that tell the kind of file but nothing about the picture.
PICTURE_FOLDERS = {'images', 'image', 'imgs', 'img', 'jpegimages', 'pictures'}
MASK_FOLDERS = {
    *('masks', 'mask', 'labels', 'label', 'annotations', 'annotation'),
    *('segmentationclass', 'segmentation', 'seg', 'gt', 'ground_truth'),
    *('targets', 'annot', 'ann', 'label_maps', 'labelmaps', 'groundtruth'),
}
_KIND_FOLDERS = {
    *PICTURE_FOLDERS,
    *MASK_FOLDERS,
    *('json', 'xml', 'txt', 'data', 'obj_train_data', 'default'),
}
_ORIENTATION = 274  # of EXIF
_SWAPPING = (5, 6, 7, 8)

Point = Tuple[float, float]
Key = Tuple[str, ...]


@dataclass
class Item:
    """An object in a picture.

    Args:
        label (str): Name of its class.
        box (tuple): x1, y1, x2, y2 in pixels of the picture as it is shown.
        segmentation (list | dict): Polygons, each a flat list of x and y, or
            an RLE as in COCO. Empty if only the box is known.
        ignored (bool): Not used for training or scores, like VOC's difficult
            ones.
    """

    label: str
    box: Tuple[float, float, float, float]
    segmentation: Any = field(default_factory=list)
    ignored: bool = False


@dataclass
class Picture:
    """A picture file.

    Args:
        path (Path): The file.
        key (tuple): Names of relevant folders, and the stem.
        split (str, optional): 'train', 'val' or 'test', if its folder says so.
        size (tuple): Width and height of the picture as shown.
        orientation (int): EXIF orientation, 1 if there is none.
        items (list[Item]): The objects in it.
    """

    path: Path
    key: Key
    split: Optional[str] = None
    size: Tuple[int, int] = (0, 0)
    orientation: int = 1
    items: List[Item] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its new name, with / between folders."""
        return '/'.join(self.key) + self.path.suffix

    def read_size(self) -> None:
        """Read the header.

        Raises:
            UsageError: If it is no picture.
        """
        try:
            with Image.open(self.path) as image:
                size = image.size
                orientation = image.getexif().get(_ORIENTATION, 1)
        except Exception as error:  # Pillow's readers raise as they like
            reason = one_line(error, first=True)
            raise UsageError(f'cannot be read ({reason})') from error
        self.orientation = orientation if 1 <= orientation <= 8 else 1
        turned = self.orientation in _SWAPPING
        self.size = size[::-1] if turned else size

    def is_raw(self, stated: Tuple[int, int]) -> bool:
        """Whether a label file refers to the pixels before rotation.

        Args:
            stated (tuple): Width and height in the label file.

        Raises:
            UsageError: If the size is a different one altogether.
        """
        if 0 in stated or stated == self.size:
            return False
        if self.orientation in _SWAPPING and stated == self.size[::-1]:
            return True
        raise UsageError(
            f'is for a picture of {stated[0]}x{stated[1]}, but the picture '
            f'has {self.size[0]}x{self.size[1]}'
        )

    def turn(self, points: Sequence[Point]) -> List[Point]:
        """Rotate points of the pixels in the file to where they are shown."""
        width, height = self.size
        return [
            {
                5: (y, x),
                6: (width - y, x),
                7: (width - y, height - x),
                8: (y, height - x),
            }[self.orientation]
            for x, y in points
        ]


class Notes:
    """Notes on skipped or changed items, by reason, with an example."""

    def __init__(self) -> None:
        self.found: Dict[str, List[str]] = defaultdict(list)

    def add(self, reason: str, example: object) -> None:
        """Note a case of a reason, which is a sentence without the number."""
        self.found[reason].append(str(example))

    def say(self, text: str) -> None:
        """Note something that is no case of several."""
        self.found[text] = []

    def lines(self) -> List[str]:
        """A line for each reason."""
        return [
            f'{reason}: {len(cases)}, e.g. {cases[0]}' if cases else reason
            for reason, cases in self.found.items()
        ]


def list_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted; links are followed."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(f for f in folders if not f.startswith('.'))
        for name in sorted(files):
            if not name.startswith('.'):
                yield Path(parent, name)


def place(path: Path, folder: Path) -> Tuple[Optional[str], Key]:
    """Split and key of a file, from the folders that contain it.

    ``images/train/a.jpg``, ``train/images/a.jpg`` and ``labels/train/a.txt``
    all have the key ``('a',)`` and the split 'train'.
    """
    *folders, name = path.relative_to(folder).parts
    split = None
    key: List[str] = []
    for part in folders:
        word = part.lower()
        if word in _SPLIT_NAMES and split is None:
            split = _SPLIT_NAMES[word]
        elif word not in _KIND_FOLDERS:
            key.append(part)
    return split, (*key, Path(name).stem)


def split_of_name(name: str) -> Optional[str]:
    """The split of a file such as ``instances_val2017.json``."""
    words = name.lower().replace('-', '_').replace('.', '_').split('_')
    return next((_SPLIT_NAMES[w] for w in words if w in _SPLIT_NAMES), None)


def list_pictures(folder: Path) -> List[Picture]:
    """All pictures below a folder.

    Raises:
        UsageError: If there are none.
    """
    found = [
        Picture(path, *place(path, folder)[::-1])
        for path in list_files(folder)
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise UsageError(
            f'{folder} must hold pictures ({", ".join(SUFFIXES)}), but holds '
            'none.'
        )
    return found


class Ambiguous(UsageError):
    """Labels that may belong to either of two pictures."""


class Finder:
    """Finds the picture that belongs to a label file.

    Args:
        pictures (Sequence[Picture]): All pictures.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.by_stem: Dict[str, List[Picture]] = defaultdict(list)
        for picture in pictures:
            self.by_stem[picture.key[-1]].append(picture)

    def find(
        self, file: Any, stated: Callable[[], str] = str
    ) -> Optional[Picture]:
        """The picture of a label file that has a split and a key.

        Args:
            file (LabelFile): The label file.
            stated (callable): Gives the name of the picture in the label file,
                or ''. It is called only if the name of the label file is not
                enough. Defaults to one that gives ''.

        Raises:
            Ambiguous: If several fit equally well.
        """
        found = self.by_stem.get(file.key[-1], [])
        if len(found) == 1:
            return found[0]
        if not found:
            return self.find_name(file, stated())
        return _choose(found, file.path, stated(), file.split, file.key)

    def find_name(self, file: Any, name: str) -> Optional[Picture]:
        """The picture that a label file names, possibly with backslashes.

        Raises:
            Ambiguous: If several fit equally well.
        """
        stated = _parted(name)
        if not stated.name:
            return None
        split, key = place(stated, Path('/'))
        found = self.by_stem.get(key[-1], [])
        if len(found) < 2:
            return found[0] if found else None
        return _choose(found, file.path, name, file.split or split, key)


def _parted(name: str) -> Path:
    parts = name.replace('\\', '/').split('/')
    return Path('/', *[p for p in parts if p not in ('', '.', '..')])


def _choose(
    found: List[Picture],
    labels: object,
    name: str,
    split: Optional[str],
    key: Key,
) -> Picture:
    """The picture with the stated name, in the place of the label file."""
    stated = _parted(name)
    for fits in (
        lambda p: p.path.name == stated.name,
        lambda p: (p.split, p.key) == (split, key),
        lambda p: p.key == key,
        lambda p: f'/{p.path.as_posix()}'.endswith(stated.as_posix()),
    ):
        found = [picture for picture in found if fits(picture)] or found
        if len(found) == 1:
            return found[0]
    raise Ambiguous(
        f'labels must belong to one picture, but {labels} fits '
        f'{found[0].path} and {found[1].path}; rename or remove one of them.'
    )


@dataclass
class LabelFile:
    """A label file of one picture.

    Args:
        path (Path): The file.
        key (tuple): Like that of the picture.
        split (str, optional): Like that of the picture.
    """

    path: Path
    key: Key
    split: Optional[str]

    @classmethod
    def list(cls, folder: Path, suffix: str) -> List['LabelFile']:
        """All label files with a suffix below a folder."""
        return [
            cls(path, *place(path, folder)[::-1])
            for path in list_files(folder)
            if path.suffix.lower() == suffix
        ]
