"""Read images and label maps; unreadable files are named or skipped."""

import logging
import os.path as osp
import re
from typing import Any, Iterator, List, Optional, Set, Tuple

import mmcv.transforms
import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from PIL import Image

from mmrep.errors import UsageError, one_line

# Keys under which transforms find the files to read.
_PATHS = ('img_path', 'seg_map_path', 'audio_path')


class GuardedLoading:
    """A transform that loads files, with an error that names the file.

    OpenCV's errors do not name the file, and it fills the missing part of a
    truncated image with grey. A label map whose shape differs from that of its
    image fails far from where it is read.

    Args:
        transform (callable): The transform, e.g. LoadImageFromFile.
        skip (bool): Skip samples whose files cannot be read, and name each one
            once in the log; the dataset uses another one instead. Otherwise
            the first one ends the run. Defaults to False.
    """

    def __init__(self, transform: Any, skip: bool = False) -> None:
        self.transform = transform
        self.skip = skip
        self._skipped: Set[str] = set()

    def __call__(self, results: dict) -> Optional[dict]:
        """Run the transform.

        Raises:
            UsageError: If a file cannot be read and must not be skipped.
        """
        loaded = None
        before = results.get('gt_seg_map')
        try:
            # the image is loaded first, so once per sample is enough
            first = type(self.transform).__name__.startswith('LoadImage')
            reason = find_truncated(results) if first else None
            if reason is None:
                loaded = self.transform(results)
                if loaded is None:
                    reason = 'it cannot be decoded'
                elif loaded.get('gt_seg_map') is not before:
                    reason = find_other_shape(loaded)
        except Exception as error:
            reason = one_line(error, kind=not isinstance(error, UsageError))
            # Pillow names the bytes it was given
            reason = re.sub(r' <[^<>]* at 0x\w+>', '', reason)
        if reason is None:
            if loaded.get('gt_seg_map') is not before:
                check_bytes(loaded.get('seg_map_path'))
            return loaded
        paths = [results[key] for key in _PATHS if results.get(key)]
        name = ' or '.join(str(path) for path in paths)
        text = f'{type(self.transform).__name__} cannot read {name} ({reason})'
        coloured = find_colours(loaded)
        if coloured and not self.skip:
            raise UsageError(coloured)
        if not self.skip:
            raise UsageError(
                f'{text}; fix or remove it, or skip such samples in training '
                'with --skip-corrupt.'
            )
        if name not in self._skipped:
            self._skipped.add(name)
            # an error, because other ranks and workers show nothing below that
            print_log(f'{text}; skipped.', 'current', logging.ERROR)
        return None

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transform!r}, skip={self.skip})'


def find_colours(results: Optional[dict]) -> Optional[str]:
    """The problem of a label map with three channels; None if it has one.

    Args:
        results (dict, optional): A sample whose label map was read.
    """
    labels = (results or {}).get('gt_seg_map')
    if labels is None or labels.ndim < 3 or labels.shape[2] < 3:
        return None
    return (
        f'the label map {results["seg_map_path"]} has colours '
        f'({labels.shape[2]} channels), but must have one channel with the '
        'number of the class at each pixel; python -m mmrep data convert '
        'masks SRC OUT turns the colours of all label maps into numbers.'
    )


def check_bytes(path: Optional[str]) -> None:
    """Raise an error if MMSegmentation cannot read labels of a label map.

    It silently converts them to bytes, so 300 becomes 44.

    Raises:
        UsageError: With the file and the label.
    """
    try:
        with Image.open(path) as image:
            if image.mode[0] not in 'FI':  # other formats have bytes
                return
            values = np.asarray(image)
    except (AttributeError, OSError, SyntaxError, ValueError):
        return  # not an image that Pillow knows, or no file
    if 0 <= values.min() and values.max() <= 255:
        return
    worst = values.min() if values.min() < 0 else values.max()
    raise UsageError(
        'labels must be 0 to 255, because MMSegmentation reads label maps as '
        f'bytes, but {path} has {worst}; renumber the classes, or merge some.'
    )


def find_truncated(results: dict) -> Optional[str]:
    """The file of a sample that ends too early, or None."""
    for key in _PATHS:
        path = results.get(key)
        if path and osp.isfile(path) and is_truncated(path):
            return f'{path} is truncated'
    return None


def find_other_shape(results: dict) -> Optional[str]:
    """Why a label map that was just read does not fit its image, or None.

    Both have the sizes of their files, even after a transform that resizes
    images.
    """
    image, labels = results.get('ori_shape'), results['gt_seg_map'].shape
    if image is None or tuple(image) == labels:
        return None
    return (
        'the label map must have one channel and the shape of the image, '
        f'{tuple(image)}, got {labels}'
    )


def is_truncated(path: str) -> bool:
    """Whether a JPEG or PNG file lacks its end."""
    with open(path, 'rb') as file:
        return lacks_end(file.read())


def lacks_end(data: bytes) -> bool:
    """Whether the content of a JPEG or PNG file lacks its end.

    Data after the end, which some cameras write, is not an error.
    """
    if data.startswith(b'\xff\xd8'):
        # The end of the image follows its last scan. An earlier one may belong
        # to a thumbnail; the data of a scan contain neither marker.
        return data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda')
    if data.startswith(b'\x89PNG'):
        return b'IEND' not in data
    return not data


def guard_loading(dataset: Any, skip: bool = False) -> int:
    """Guard the loading transforms in a dataset's pipelines, in place.

    Pipelines inside a transform, such as TestTimeAug, are guarded too.

    Args:
        dataset (Dataset): An OpenMMLab data set, or a wrapper of one.
        skip (bool): See :class:`GuardedLoading`. Defaults to False.

    Returns:
        int: Number of guarded transforms.
    """
    count = 0
    for inner in built_datasets(dataset):
        for transforms, i in _places(getattr(inner, 'pipeline', None)):
            if type(transforms[i]).__name__.startswith('Load'):
                transforms[i] = GuardedLoading(transforms[i], skip)
                count += 1
    return count


def built_datasets(dataset: Any) -> Iterator[Any]:
    """The data sets inside wrappers such as ConcatDataset."""
    inner = [*getattr(dataset, 'datasets', ())]
    if hasattr(dataset, 'dataset'):
        inner.append(dataset.dataset)
    if not inner:
        yield dataset
    for part in inner:
        yield from built_datasets(part)


def built_transforms(dataset: Any) -> Iterator[Any]:
    """The transforms of a data set's pipeline, including nested ones."""
    for transforms, i in _places(getattr(dataset, 'pipeline', None)):
        transform = transforms[i]
        guarded = isinstance(transform, GuardedLoading)
        yield transform.transform if guarded else transform


def _places(pipeline: Any) -> Iterator[Tuple[List[Any], int]]:
    """Place of each transform of a pipeline: a list and an index."""
    transforms = getattr(pipeline, 'transforms', None)
    for i, transform in enumerate(transforms or ()):
        yield transforms, i
        for inner in _inner_pipelines(transform):
            yield from _places(inner)


def _inner_pipelines(transform: Any) -> Iterator[Any]:
    """Pipelines inside a transform."""
    pending = [transform, *getattr(transform, '__dict__', {}).values()]
    while pending:
        value = pending.pop()
        if isinstance(value, (mmcv.transforms.Compose, Compose)):
            yield value
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
