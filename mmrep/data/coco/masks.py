"""Check masks in COCO format.

pycocotools accepts anything: a coordinate that is NaN or huge ends the
process, and run lengths that do not add up loop forever or give another mask.
"""

from typing import Any, List, Optional

import numpy as np

# Limit of a coordinate; pycocotools takes five steps per pixel.
_LARGEST = 1e5
# Message for a mask that pycocotools accepts but nothing can match.
NO_PIXELS = 'a mask must have pixels'


def fault_of(segmentation: Any, size: List[int]) -> str:
    """The rule that a mask violates, or '' if nothing is wrong.

    Args:
        segmentation (Any): The value in an annotation.
        size (list[int]): Height and width of its picture.
    """
    if isinstance(segmentation, dict):
        return _fault_of_rle(segmentation, size)
    if not isinstance(segmentation, list) or any(
        type(polygon) is not list for polygon in segmentation
    ):
        return (
            'segmentation must be a list of polygons, [[x1, y1, x2, y2, x3, '
            'y3, ...], ...], or an RLE'
        )
    for polygon in segmentation:
        points = len(polygon)
        try:
            total = sum(polygon)
            low, high = min(polygon, default=0), max(polygon, default=0)
        except TypeError:  # such as strings
            points = 0
        if points < 6 or points % 2:
            return (
                'polygons must have at least three points, with x and y of '
                'each as numbers'
            )
        # a NaN anywhere makes the sum NaN
        if total != total or not -_LARGEST < low <= high < _LARGEST:
            return (
                'polygons must have points in the picture, and none may be NaN'
            )
    return '' if any(map(_area, segmentation)) else NO_PIXELS


def _area(polygon: List[float]) -> float:
    """Twice the area of a polygon, with a sign."""
    xs, ys = polygon[::2], polygon[1::2]
    return sum(
        x * (after - before)
        for x, after, before in zip(
            xs, ys[1:] + ys[:1], ys[-1:] + ys[:-1], strict=True
        )
    )


def _fault_of_rle(rle: dict, size: List[int]) -> str:
    if 'counts' not in rle or rle.get('size') != size:
        return (
            'an RLE must have counts, and the size of its picture, [height, '
            'width]'
        )
    counts = rle['counts']
    if isinstance(counts, str):
        counts = _decoded(counts)
    elif isinstance(counts, list) and all(type(n) is int for n in counts):
        counts = np.array(counts, object)  # of any length
    else:
        counts = None
    if counts is None or not (
        (counts >= 0).all() and counts.sum() == size[0] * size[1]
    ):
        return 'the counts of an RLE must add up to the pixels of its size'
    return '' if counts[1::2].any() else NO_PIXELS


def _decoded(text: str) -> Optional[np.ndarray]:
    """The counts of a compressed RLE, or None if it is not one.

    Each character holds five bits of a number and a flag whether more follow.
    From the third number on, numbers are differences to the last but one.
    Source: ``rleFrString`` in pycocotools' maskApi.c.
    """
    try:
        codes = np.frombuffer(text.encode('ascii'), np.uint8).astype(int) - 48
    except UnicodeError:
        return None
    more = codes & 32 > 0
    if not len(codes) or more[-1] or codes.min() < 0 or codes.max() > 63:
        return None
    ends = np.flatnonzero(~more)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > 7:  # more than 32 bits
        return None
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * place, starts)
    numbers -= (codes[ends] & 16 > 0) * (1 << 5 * lengths)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def bounds(polygons: List[List[float]]) -> List[float]:
    """The box around polygons: x, y, width and height."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
