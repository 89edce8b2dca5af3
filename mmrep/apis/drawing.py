"""Pictures of label maps: colours over the image, a legend, the errors."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

FONT = cv2.FONT_HERSHEY_SIMPLEX
# Lines blended at a time, so a large picture needs no float copy.
BAND = 512
WRONG = (0, 0, 255)  # BGR, like all pictures here
# Minimum height of a line of a legend.
MIN_LINE = 14


def class_names(meta: Dict[str, Any], count: int) -> List[str]:
    """A name for each label, such as 'class 3' if none is known."""
    known = list(meta.get('classes') or ())
    return [*known[:count], *(f'class {i}' for i in range(len(known), count))]


def class_colours(meta: Dict[str, Any], count: int) -> np.ndarray:
    """A BGR colour for each label: the data set's, or arbitrary ones."""
    colours = np.random.RandomState(42).randint(0, 256, (max(count, 1), 3))
    known = meta.get('palette')
    if isinstance(known, (list, tuple)) and len(known):
        known = np.array(known)[:count, ::-1]
        colours[: len(known)] = known
    return colours.astype(np.uint8)


def css(colour: Sequence[int]) -> str:
    """A BGR colour in CSS."""
    blue, green, red = (int(part) for part in colour)
    return f'rgb({red}, {green}, {blue})'


def shrunk(picture: np.ndarray, zoom: float) -> np.ndarray:
    """A picture scaled by ``zoom``, or unchanged if that is 1 or more."""
    if zoom >= 1:
        return picture
    height, width = picture.shape[:2]
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colours: np.ndarray,
    opacity: float,
) -> np.ndarray:
    """Blend the colours of labels into a picture.

    Args:
        image (np.ndarray): BGR, shape (H, W, 3), uint8.
        labels (np.ndarray): Shape (H, W); labels without a colour are not
            drawn.
        colours (np.ndarray): Shape (K, 3).
        opacity (float): Weight of the colours, 0 to 1.

    Returns:
        np.ndarray: Shape (H, W, 3), uint8.
    """
    out = image.copy()
    for top in range(0, len(image), BAND):
        lines = slice(top, top + BAND)
        known = labels[lines] < len(colours)
        paint = colours[np.where(known, labels[lines], 0)]
        blended = cv2.addWeighted(paint, opacity, image[lines], 1 - opacity, 0)
        out[lines] = np.where(known[..., None], blended, image[lines])
    return out


def error_map(
    image: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """The picture in grey, wrong pixels in red, unlabelled ones dark."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    out = cv2.cvtColor(grey // 2 + 96, cv2.COLOR_GRAY2BGR)
    out[(labels != truth) & (truth != 255)] = WRONG
    out[truth == 255] //= 3
    return out


def with_title(picture: np.ndarray, text: str) -> np.ndarray:
    """Put a line of text above a picture."""
    scale = _text_scale(picture.shape[0])
    # titles of pictures side by side have the same height
    (_, height), base = cv2.getTextSize('Ag', FONT, scale, 1)
    (width, _), _ = cv2.getTextSize(text, FONT, scale, 1)
    scale *= min(1, (picture.shape[1] - 4) / max(width, 1))
    band = np.full((height + base + 6, picture.shape[1], 3), 255, np.uint8)
    place = (2, height + 3)
    cv2.putText(band, text, place, FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([band, picture])


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures of the same height side by side, separated by white."""
    gap = np.full((pictures[0].shape[0], 4, 3), 255, np.uint8)
    parts: List[np.ndarray] = []
    for picture in pictures:
        parts += [picture, gap]
    return np.hstack(parts[:-1])


def with_legend(
    picture: np.ndarray,
    entries: Sequence[Tuple[str, Sequence[int]]],
    names: Sequence[str] = (),
) -> np.ndarray:
    """Put a column of colours and names to the right of a picture.

    Args:
        picture (np.ndarray): BGR, shape (H, W, 3).
        entries (Sequence[tuple]): Name and BGR colour of each.
        names (Sequence[str]): Names for which the column must be wide enough,
            if they are more than the entries. Defaults to ().

    Returns:
        np.ndarray: As high as the picture, or as the column if that is higher.
    """
    if not entries:
        return picture
    names = [*(name for name, _ in entries), *names]
    scale = _text_scale(picture.shape[0])
    room = picture.shape[0] / len({*names})
    line = int(max(MIN_LINE, min(40 * scale, room)))
    scale = line / 40
    thickness = max(1, round(scale))
    sizes = [
        cv2.getTextSize(name, FONT, scale, thickness)[0] for name in names
    ]
    width = 2 * line + max(size[0] for size in sizes)
    height = max(picture.shape[0], line * len(entries))
    column = np.full((height, width, 3), 255, np.uint8)
    for i, (name, colour) in enumerate(entries):
        top, margin = i * line, line // 6
        corners = (
            (margin, top + margin),
            (line - margin, top + line - margin),
        )
        cv2.rectangle(column, *corners, [int(c) for c in colour], -1)
        cv2.rectangle(column, *corners, (0, 0, 0), 1)
        place = (line + margin, top + (line + sizes[i][1]) // 2)
        cv2.putText(
            column,
            name,
            place,
            FONT,
            scale,
            (0, 0, 0),
            thickness,
            cv2.LINE_AA,
        )
    below = np.full(
        (height - picture.shape[0], picture.shape[1], 3), 255, np.uint8
    )
    return np.hstack([np.vstack([picture, below]), column])


def _text_scale(height: int) -> float:
    """OpenCV's text scale for a picture of this height."""
    return float(np.clip(height / 900, 0.4, 4))


def draw_segmentation(
    image: np.ndarray,
    labels: np.ndarray,
    meta: Dict[str, Any],
    opacity: float = 0.5,
    truth: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Draw a label map, with a legend of the classes in it.

    Args:
        image (np.ndarray): BGR, shape (H, W, 3), uint8.
        labels (np.ndarray): Shape (H, W).
        meta (dict): ``classes`` and ``palette`` (RGB), as far as they are
            known.
        opacity (float): Weight of the colours, 0 to 1. Defaults to 0.5.
        truth (np.ndarray, optional): True labels, 255 where there are none;
            they and the errors are drawn beside the prediction.

    Returns:
        np.ndarray: A BGR picture.
    """
    shown = np.bincount(labels.ravel(), minlength=1)
    if truth is not None:
        true = np.bincount(truth[truth != 255].ravel(), minlength=len(shown))
        shown = np.pad(shown, (0, max(0, len(true) - len(shown)))) + true
    count = max(len(shown), len(meta.get('classes') or ()))
    colours, names = class_colours(meta, count), class_names(meta, count)
    picture = overlay(image, labels, colours, opacity)
    entries = [(names[i], colours[i]) for i in np.flatnonzero(shown)]
    if truth is not None:
        valid = truth != 255
        wrong = np.mean(labels[valid] != truth[valid]) if valid.any() else 0
        picture = side_by_side(
            [
                with_title(picture, 'prediction'),
                with_title(
                    overlay(image, truth, colours, opacity), 'ground truth'
                ),
                with_title(
                    error_map(image, labels, truth), f'errors {wrong:.1%}'
                ),
            ]
        )
        entries.append(('error', WRONG))
    return with_legend(picture, entries)


def draw_detection(
    image: np.ndarray,
    sample: BaseDataElement,
    visualizer: Any,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw boxes, and masks if there are any, with labels and scores.

    Args:
        image (np.ndarray): BGR, shape (H, W, 3), uint8.
        sample (BaseDataElement): MMDetection's, with ``pred_instances``.
        visualizer (Visualizer): MMDetection's, which knows the classes.
        score_thr (float): Minimum score of what is drawn. Defaults to 0.3.

    Returns:
        np.ndarray: A BGR picture of the same shape.
    """
    visualizer.add_datasample(
        'image',
        image[..., ::-1],
        sample.cpu(),
        draw_gt=False,
        pred_score_thr=score_thr,
    )
    return visualizer.get_image()[..., ::-1]
