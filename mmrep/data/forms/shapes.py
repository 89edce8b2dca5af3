"""Boxes, polygons and masks: their geometry and COCO's encoding."""

import math
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import pycocotools.mask

from mmrep.data.forms.pictures import Item, Notes, Picture, Point

# Corners of the polygon for a circle or an ellipse.
_CORNERS = 48


def box_of(points: Sequence[Point]) -> Tuple[float, float, float, float]:
    """The box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def corners(x1: float, y1: float, x2: float, y2: float) -> List[Point]:
    """The corners of a box, as a polygon."""
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def ellipse(centre: Point, radii: Point, degrees: float = 0) -> List[Point]:
    """An ellipse as a polygon."""
    angles = [2 * math.pi * i / _CORNERS for i in range(_CORNERS)]
    points = [
        (
            centre[0] + radii[0] * math.cos(a),
            centre[1] + radii[1] * math.sin(a),
        )
        for a in angles
    ]
    return rotated(points, centre, degrees)


def rotated(
    points: Sequence[Point], centre: Point, degrees: float
) -> List[Point]:
    """Points rotated around a centre, clockwise as seen."""
    sine, cosine = (f(math.radians(degrees)) for f in (math.sin, math.cos))
    (cx, cy) = centre
    return [
        (
            cx + (x - cx) * cosine - (y - cy) * sine,
            cy + (x - cx) * sine + (y - cy) * cosine,
        )
        for x, y in points
    ]


def encode_mask(mask: np.ndarray) -> Dict[str, Any]:
    """COCO's uncompressed RLE of a mask (H, W) of 0 and 1."""
    flat = mask.ravel(order='F')
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    # the first run is of zeros
    counts = [0, *runs] if flat[0] else runs
    return dict(size=list(mask.shape), counts=counts)


def mask_item(
    picture: Picture, label: str, left: int, top: int, mask: np.ndarray
) -> Item:
    """An object from a mask of a part of the picture."""
    width, height = picture.size
    whole = np.zeros((height, width), np.uint8)
    part = mask[max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    part = part[: height - top, : width - left]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part > 0
    box = (left, top, left + part.shape[1], top + part.shape[0])
    return Item(label, box, encode_mask(whole))


def draw(item: Item, size: Tuple[int, int]) -> np.ndarray:
    """The mask of an object.

    Args:
        item (Item): An object with polygons or an RLE.
        size (tuple): Width and height of the picture.

    Returns:
        np.ndarray: Shape (H, W), uint8, of 0 and 1.
    """
    width, height = size
    rle = item.segmentation
    if isinstance(rle, list):  # all of several polygons belong to it
        rles = pycocotools.mask.frPyObjects(rle, height, width)
        rle = pycocotools.mask.merge(rles)
    elif isinstance(rle['counts'], list):
        rle = pycocotools.mask.frPyObjects(rle, height, width)
    return pycocotools.mask.decode(rle)


def area_of(item: Item) -> float:
    """Number of pixels of an object: of its mask, or else of its box."""
    if isinstance(item.segmentation, dict):
        rle = item.segmentation
        if isinstance(rle['counts'], list):
            return float(sum(rle['counts'][1::2]))
        return float(pycocotools.mask.area(rle))
    if item.segmentation:
        return float(sum(map(_polygon_area, item.segmentation)))
    x1, y1, x2, y2 = item.box
    return (x2 - x1) * (y2 - y1)


def _polygon_area(polygon: Sequence[float]) -> float:
    points = np.array(polygon, float).reshape(-1, 2)
    x, y = points.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def add_points(
    picture: Picture,
    label: str,
    parts: Sequence[Sequence[Point]],
    only_box: bool,
    raw: bool,
    ignored: bool = False,
) -> None:
    """Add an object given by points.

    Args:
        picture (Picture): Receives the object.
        label (str): Name of its class.
        parts (Sequence): Polygons, or the corners of a box.
        only_box (bool): Whether the points are the corners of a box.
        raw (bool): Whether the points refer to the picture before EXIF rotates
            it.
        ignored (bool): See :class:`Item`. Defaults to False.
    """
    if raw:
        parts = [picture.turn(part) for part in parts]
    box = box_of([point for part in parts for point in part])
    polygons = (
        [] if only_box else [[v for p in part for v in p] for part in parts]
    )
    picture.items.append(Item(label, box, polygons, ignored))


def clip(picture: Picture, notes: Notes) -> None:
    """Clip the objects of a picture to its borders; note skipped ones."""
    width, height = picture.size
    kept = []
    for item in picture.items:
        x1, y1, x2, y2 = item.box
        inside = (
            min(max(x1, 0), width),
            min(max(y1, 0), height),
            min(max(x2, 0), width),
            min(max(y2, 0), height),
        )
        where = f'{item.label} in {picture.name}'
        if not all(map(math.isfinite, item.box)):
            notes.add(
                'objects skipped because coordinates are not numbers', where
            )
            continue
        if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            small = inside == item.box
            why = 'less than a pixel wide or high' if small else (
                'outside the picture'
            )  # fmt: skip
            notes.add(f'objects skipped, {why}', where)
            continue
        if max(abs(a - b) for a, b in zip(inside, item.box, strict=True)) > 1:
            notes.add('boxes cut at the border of the picture', where)
        item.box = inside
        if isinstance(item.segmentation, list):
            item.segmentation = [
                [
                    min(max(v, 0), (width, height)[i % 2])
                    for i, v in enumerate(polygon)
                ]
                for polygon in item.segmentation
                if len(polygon) >= 6
            ]
        kept.append(item)
    picture.items = kept
