"""Check the annotations of a file in COCO format."""

import math
import warnings
from itertools import chain
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmrep.data.coco.file import CocoFile, by, is_number, repeated, some
from mmrep.data.coco.masks import NO_PIXELS, bounds, fault_of
from mmrep.errors import UsageError, agreed

_RENUMBER = (
    'Number them from 1: for i, a in enumerate(content["annotations"], 1): '
    'a["id"] = i.'
)
_BOX = 'bbox must be four numbers: x, y, width and height in pixels'
# Number of annotations whose box is compared with its polygons.
_SAMPLE = 500


def check_annotations(file: CocoFile, masks: bool) -> np.ndarray:
    """Check that ids, references, boxes, areas and masks can be used.

    Args:
        file (CocoFile): The file, whose images and categories have been
            checked. Annotations of images that it does not list are removed
            from it.
        masks (bool): Whether masks are used for training or scores.

    Returns:
        np.ndarray: For each annotation, whether training skips it.

    Raises:
        UsageError: If some are wrong.
    """
    if file.annotations:
        _check_ids(file)
        _check_references(file)
    if not file.annotations:  # no annotation of a listed image
        return np.zeros(0, bool)
    _check_numbers(file)
    boxes, pictures = _check_boxes(file)
    if masks:
        _check_masks(file)
    _compare_with_polygons(file, boxes, masks)
    return _find_unused(file, boxes, pictures)


def check_usable(
    file: CocoFile, unused: np.ndarray, classes: Sequence[str], count: int
) -> None:
    """Check that something is left to train or measure.

    Args:
        file (CocoFile): The file.
        unused (np.ndarray): What :func:`check_annotations` returned.
        classes (Sequence[str]): Classes of the data set.
        count (int): Annotations that the file had.

    Raises:
        UsageError: If nothing is left.
    """
    if not _has_usable(file, unused, classes):
        raise UsageError(
            f'the annotation file {file.path} must have boxes, but none of '
            f'its {count} annotations has a box of at least one pixel in one '
            f'of its {len(file.images)} images for one of the classes '
            f'{some(classes)}.'
        )


def _refuse(
    file: CocoFile,
    wrong: Sequence[int],
    must: str,
    key: str,
    todo: str,
    got: Optional[str] = None,
) -> None:
    """Raise an error if there are wrong annotations.

    Args:
        file (CocoFile): Their file.
        wrong (Sequence[int]): Their indices in the list.
        must (str): What must hold.
        key (str): The key that is wrong.
        todo (str): What to do.
        got (str, optional): What the first one has instead. Defaults to None,
            the value of the key.

    Raises:
        UsageError: If there is one.
    """
    if not len(wrong):
        return
    raise UsageError(
        f'the annotation file {file.path}: {must}; {len(wrong)} of '
        f'{len(file.annotations)} annotations '
        f'{"is" if len(wrong) == 1 else "are"} wrong; the first is '
        + (
            f'annotations[{wrong[0]}]'
            if key == 'id'
            else _named(file, wrong[0])
        )
        + f' with {got or _shown(file, wrong[0], key)}. {todo}'
    )


def _named(file: CocoFile, i: int) -> str:
    """An annotation's place, and its id if it has one."""
    entry = file.annotations[i]
    return f'annotations[{i}]' + (
        f', id {entry["id"]!r},' if 'id' in entry else ''
    )


def _shown(file: CocoFile, i: int, key: str) -> str:
    """A value of an annotation, shortened."""
    value = file.annotations[i].get(key)
    if isinstance(value, dict):
        return f'{key} size {value.get("size")!r}'
    text = repr(value)
    return f'{key} {text if len(text) <= 60 else f"{text[:57]}..."}'


def _check_ids(file: CocoFile) -> None:
    ids = [entry.get('id') for entry in file.annotations]
    must = 'each annotation must have its own id'
    absent = [i for i, v in enumerate(ids) if v is None]
    _refuse(file, absent, must, 'id', _RENUMBER, 'no id')
    _refuse(
        file,
        _others(ids, is_number),
        'ids of annotations must be numbers, because pycocotools stores them '
        'as numbers',
        'id',
        _RENUMBER,
    )
    _refuse(
        file,
        [i for i, v in enumerate(ids) if not v],
        'ids of annotations must not be 0: pycocotools counts a match with '
        'id 0 as no match, which makes the AP too low',
        'id',
        _RENUMBER,
    )
    twice = set(repeated(ids))  # few or none
    again = [i for i, v in enumerate(ids) if v in twice] if twice else []
    _refuse(file, again, must, 'id', _RENUMBER)


def _check_references(file: CocoFile) -> None:
    for key, entries, many in (
        ('image_id', file.images, 'images'),
        ('category_id', file.categories, 'categories'),
    ):
        known = {entry['id'] for entry in entries}
        values = [entry[key] for entry in file.annotations]
        wrong = [i for i, v in enumerate(values) if _unknown(v, known)]
        if not wrong:
            continue
        todo = f'Add what is missing to {many}, or remove them.'
        value = str(values[wrong[0]])
        other = next((k for k in known if str(k) == value), None)
        if other is not None:
            todo = f'{many} have {other!r}: give both the same type.'
        elif key == 'image_id' and all(_is_id(values[i]) for i in wrong):
            _leave_out(file, wrong)
            continue
        _refuse(file, wrong, f'{key} must be an id of {many}', key, todo)


def _leave_out(file: CocoFile, wrong: Sequence[int]) -> None:
    """Drop annotations of images that are not listed, as all tools do."""
    out = set(wrong)
    warnings.warn(
        f'{len(wrong)} of {len(file.annotations)} annotations in '
        f'{file.path} {agreed(len(wrong), "belongs belong")} to images that '
        'it does not list, and skipped.',
        stacklevel=2,
    )
    file.annotations = [
        entry for i, entry in enumerate(file.annotations) if i not in out
    ]


def _check_numbers(file: CocoFile) -> None:
    _refuse(
        file,
        _others([entry['area'] for entry in file.annotations], _is_area),
        'area must be a number of pixels',
        'area',
        'Write numbers of 0 or more, without quotes.',
    )
    for key in ('iscrowd', 'ignore'):
        values = [entry.get(key, 0) for entry in file.annotations]
        _refuse(
            file,
            [i for i, v in enumerate(values) if v not in (0, 1)],
            f'{key} must be 0 or 1',
            key,
            'Omit it if it is not known: it then counts as 0.',
        )


def _check_boxes(file: CocoFile) -> Tuple[np.ndarray, np.ndarray]:
    """Check boxes; return them (N, 4) and the picture sizes (N, 2)."""
    values = [entry['bbox'] for entry in file.annotations]
    wrong = [] if _are_all_boxes(values) else _others(values, _is_box)
    todo = 'Remove them, or export the boxes again.'
    _refuse(file, wrong, _BOX, 'bbox', todo)
    numbers = chain.from_iterable(values)
    try:
        boxes = np.fromiter(numbers, float).reshape(-1, 4)
    except OverflowError:  # 1 and 400 zeros
        boxes = np.array(
            [[v if v < 1e300 else np.inf for v in box] for box in values]
        )
    odd = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
    wrong = np.flatnonzero(odd).tolist()
    must = f'{_BOX}, all finite, with no negative size'
    _refuse(file, wrong, must, 'bbox', todo)
    sizes = {i['id']: (i['width'], i['height']) for i in file.images}
    pictures = np.array([sizes[e['image_id']] for e in file.annotations])
    if boxes.max() <= 1 and pictures.min() > 1:
        todo = (
            'All values are below 1, so the boxes look like fractions of the '
            'picture: multiply them by its width and height.'
        )
        _refuse(file, range(len(boxes)), _BOX, 'bbox', todo)
    beyond = (boxes[:, :2] + boxes[:, 2:] > pictures + 1).any(1)
    wrong = np.flatnonzero(beyond).tolist()
    corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= pictures + 1)
    if wrong and corners.all():
        got = _shown(file, wrong[0], 'bbox')
        got += f' in a picture of {by(pictures[wrong[0]])}'
        todo = (
            'All boxes look like x1, y1, x2, y2: subtract the first two '
            'numbers from the others.'
        )
        _refuse(file, wrong, _BOX, 'bbox', todo, got)
    if wrong:
        warnings.warn(
            f'{len(wrong)} of {len(boxes)} boxes in {file.path} '
            f'{agreed(len(wrong), "extends extend")} beyond the picture; the '
            f'first is {_named(file, wrong[0])} with '
            f'{_shown(file, wrong[0], "bbox")} in {by(pictures[wrong[0]])}; '
            'bbox is x and y of the upper left corner, width and height.',
            stacklevel=2,
        )
    return boxes, pictures


def _compare_with_polygons(
    file: CocoFile, boxes: np.ndarray, masks: bool
) -> None:
    """Refuse or warn about boxes that do not enclose their polygons."""
    step = math.ceil(len(boxes) / _SAMPLE)
    looked_at, wrong = 0, []
    for i in range(0, len(boxes), step):
        polygons = file.annotations[i].get('segmentation')
        if not isinstance(polygons, list) or fault_of(polygons, []):
            continue
        looked_at += 1
        if _overlap(boxes[i], bounds(polygons)) < 0.5:
            wrong.append(i)
    if len(wrong) <= looked_at / 2:
        return
    text = (
        f'the annotation file {file.path}: {_BOX}, around the polygons of '
        f'segmentation; {len(wrong)} of {looked_at} that were checked are '
        f'elsewhere; the first is {_named(file, wrong[0])} with '
        f'{_shown(file, wrong[0], "bbox")} and polygons in '
        f'{bounds(file.annotations[wrong[0]]["segmentation"])}. x and y are '
        'those of the upper left corner; export both in pixels.'
    )
    if masks:
        raise UsageError(text)
    warnings.warn(text, stacklevel=2)  # the polygons may be wrong instead


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes; 1 if both are flat."""
    shared = 1.0
    for k in (0, 1):
        low, high = max(a[k], b[k]), min(a[k] + a[k + 2], b[k] + b[k + 2])
        shared *= max(high - low, 0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 1.0


def _find_unused(
    file: CocoFile, boxes: np.ndarray, pictures: np.ndarray
) -> np.ndarray:
    """Annotations that MMDetection skips but pycocotools counts."""
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], pictures)
    areas = np.array([float(entry['area']) for entry in file.annotations])
    unused = (
        (ends <= np.maximum(boxes[:, :2], 0)).any(1)
        | (boxes[:, 2:] < 1).any(1)
        | (areas <= 0)
    )
    first = int(unused.argmax())
    if unused[first]:
        warnings.warn(
            f'{unused.sum()} of {len(unused)} annotations in {file.path} '
            f'{agreed(unused.sum(), "is are")} skipped in training and missed '
            'in a test, because the box is outside its picture or smaller '
            'than a pixel, or the area is 0; the first is '
            f'{_named(file, first)} with '
            f'{_shown(file, first, "bbox")}.',
            stacklevel=2,
        )
    return unused


def _has_usable(
    file: CocoFile, unused: np.ndarray, classes: Sequence[str]
) -> bool:
    """Whether something is left to train or measure."""
    categories = {c['id'] for c in file.categories if c['name'] in classes}
    return any(
        entry['category_id'] in categories
        and not left_out
        and not entry.get('ignore')
        and not entry.get('iscrowd')
        for entry, left_out in zip(file.annotations, unused, strict=True)
    )


def _check_masks(file: CocoFile) -> None:
    values = [entry.get('segmentation') for entry in file.annotations]
    absent = [i for i, v in enumerate(values) if not v]
    if len(absent) == len(values):
        raise UsageError(
            f'the annotation file {file.path} must have masks, because the '
            'config trains or measures them, but the segmentation of all its '
            'annotations is empty; use the config of a detector without '
            'masks.'
        )
    _refuse(
        file,
        absent,
        'segmentation must be present, because the config trains or measures '
        'masks',
        'segmentation',
        'Remove the annotations, or use the config of a detector without '
        'masks.',
        'no segmentation',
    )
    sizes = {i['id']: [i['height'], i['width']] for i in file.images}
    faults: Dict[str, List[int]] = {}
    for i, (value, entry) in enumerate(
        zip(values, file.annotations, strict=True)
    ):
        fault = fault_of(value, sizes[entry['image_id']])
        if fault:
            faults.setdefault(fault, []).append(i)
    empty = faults.pop(NO_PIXELS, [])
    if len(empty) == len(values):
        faults[NO_PIXELS] = empty
    for fault, wrong in faults.items():
        _refuse(file, wrong, fault, 'segmentation', 'Export the masks again.')
    if empty and not faults:  # well-known files have some
        warnings.warn(
            f'{len(empty)} of {len(values)} masks in {file.path} '
            f'{agreed(len(empty), "has have")} no pixels, such as flat '
            'polygons, and cannot be found in a test; '
            f'the first is {_named(file, empty[0])} with '
            f'{_shown(file, empty[0], "segmentation")}.',
            stacklevel=2,
        )


def _is_id(value: Any) -> bool:
    """Whether a value can be the id of an image that is not listed."""
    return isinstance(value, str) or (is_number(value) and value == value)


def _unknown(value: Any, known: set) -> bool:
    try:
        return value not in known
    except TypeError:  # such as a list
        return True


def _others(values: List[Any], is_sound: Callable[[Any], bool]) -> List[int]:
    return [i for i, value in enumerate(values) if not is_sound(value)]


def _is_area(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1e300


def _is_box(value: Any) -> bool:
    return (
        type(value) is list and len(value) == 4 and all(map(is_number, value))
    )


def _are_all_boxes(values: List[Any]) -> bool:
    """Whether all are lists of four numbers, without a loop in Python."""
    return (
        set(map(type, values)) == {list}
        and set(map(len, values)) == {4}
        and set(map(type, chain.from_iterable(values))) <= {int, float}
    )
