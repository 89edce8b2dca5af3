"""Count a test's correct and wrong predictions, and pick pictures."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement

from mmrep.apis.drawing import FONT, class_colours, error_map, overlay
from mmrep.errors import UsageError

# A box is found if its IoU with a true one is at least this.
IOU_THR = 0.5
# BGR colours that colour-blind people can also tell apart.
CORRECT, FALSE, MISSED = (178, 114, 0), (0, 94, 213), (0, 215, 255)
# Boxes and their text are drawn on pictures that are at least so wide or high.
_SIZE = 800


class Example(NamedTuple):
    """A picture, and how good its prediction is.

    Attributes:
        path: Path of the picture.
        score: From 0 to 1, which is best.
        text: Text about it.
        found: Data from which its tally draws it.
    """

    path: str
    score: float
    text: str
    found: Any


class LabelTally:
    """Counts pixels of a segmentor.

    Args:
        classes (Sequence[str]): Their names.
        palette (np.ndarray): BGR colours, shape (K, 3).
    """

    unit = 'pixels'

    def __init__(self, classes: Sequence[str], palette: np.ndarray) -> None:
        self.classes, self.palette = list(classes), palette
        # pixels of a class (row) that were predicted as one (column)
        count = len(self.classes)
        self.confusion = np.zeros((count, count), np.int64)

    def add(self, sample: BaseDataElement) -> Example:
        """Count a picture.

        Args:
            sample (SegDataSample): With ``pred_sem_seg`` and ``gt_sem_seg``.

        Raises:
            UsageError: If there is no ground truth.
        """
        if 'gt_sem_seg' not in sample:
            raise UsageError('--report needs a test set with label maps.')
        labels, truth = (
            part.data.cpu().long().numpy().reshape(part.data.shape[-2:])
            for part in (sample.pred_sem_seg, sample.gt_sem_seg)
        )
        count = len(self.classes)
        known = truth < count
        pairs = truth[known] * count + labels[known]
        confusion = np.bincount(pairs, minlength=count**2)
        self.confusion += confusion.reshape(count, count)
        wrong = np.mean(labels[known] != truth[known]) if known.any() else 0.0
        small = np.uint8 if count < 255 else np.int32
        truth = np.where(known, truth, 255)
        return Example(
            sample.img_path,
            1 - float(wrong),
            f'{wrong:.1%} of the pixels are wrong',
            (labels.astype(small), truth.astype(small)),
        )

    def rows(self, metrics: Dict[str, float]) -> List[Tuple[Any, ...]]:
        """Scores of each class in percent, below :attr:`header`."""
        right = self.confusion.diagonal()
        true, predicted = self.confusion.sum(1), self.confusion.sum(0)
        return [
            (
                _percent(right[i], true[i] + predicted[i] - right[i]),
                _percent(right[i], true[i]),
                _percent(right[i], predicted[i]),
                _percent(true[i], true.sum()),
            )
            for i in range(len(self.classes))
        ]

    header = ('IoU', 'recall', 'precision', 'of all pixels')

    def draw(
        self, image: np.ndarray, example: Example
    ) -> List[Tuple[str, np.ndarray]]:
        """Pictures of an example, and what each shows."""
        labels, truth = example.found
        known = np.where(truth == 255, len(self.palette), truth)
        return [
            ('prediction', overlay(image, labels, self.palette, 0.6)),
            ('ground truth', overlay(image, known, self.palette, 0.6)),
            ('errors in red', error_map(image, labels, truth)),
        ]


class BoxTally:
    """Counts boxes of a detector.

    Args:
        classes (Sequence[str]): Their names.
        instances (dict): The data set's ``instances`` for each path.
        score_thr (float): Minimum score of the boxes that count.
    """

    unit = 'boxes'
    header = ('AP', 'recall', 'precision', 'true', 'found')

    def __init__(
        self,
        classes: Sequence[str],
        instances: Dict[str, List[dict]],
        score_thr: float,
    ) -> None:
        self.classes = [*classes, 'nothing']
        self.instances, self.score_thr = instances, score_thr
        self.palette = class_colours({}, len(classes))
        count = len(self.classes)
        self.confusion = np.zeros((count, count), np.int64)

    def add(self, sample: BaseDataElement) -> Example:
        """Count a picture.

        Args:
            sample (DetDataSample): With ``pred_instances``, in pixels of the
                picture.
        """
        found = sample.pred_instances.cpu()
        found = found[found.scores >= self.score_thr]
        true = self.instances[sample.img_path]
        boxes = torch.tensor([t['bbox'] for t in true]).reshape(-1, 4)
        labels = [t['bbox_label'] for t in true]
        ignored = [bool(t.get('ignore_flag')) for t in true]
        predicted = found.labels.tolist()
        pairs = match(found.bboxes, predicted, boxes, labels, ignored)
        nothing = len(self.classes) - 1
        # the true class of each prediction, None if it does not count
        classes: List[Any] = [nothing] * len(predicted)
        missed = [i for i, crowd in enumerate(ignored) if not crowd]
        for i, j in pairs:
            classes[i] = None if ignored[j] else labels[j]
            if j in missed:
                missed.remove(j)
        for label, of in zip(predicted, classes, strict=True):
            if of is not None:
                self.confusion[of, label] += 1
        for j in missed:
            self.confusion[labels[j], nothing] += 1
        right = sum(a == b for a, b in zip(predicted, classes, strict=True))
        wrong = sum(c is not None for c in classes) - right
        total = right + wrong + ignored.count(False)
        drawn = [
            (box.tolist(), CORRECT if of == label else FALSE, label, score)
            for box, of, label, score in zip(
                found.bboxes,
                classes,
                predicted,
                found.scores.tolist(),
                strict=True,
            )
            if of is not None
        ]
        drawn += [(boxes[j].tolist(), MISSED, labels[j], None) for j in missed]
        return Example(
            sample.img_path,
            2 * right / total if total else 1.0,
            f'{right} correct, {wrong} false, {len(missed)} missed',
            drawn,
        )

    def rows(self, metrics: Dict[str, float]) -> List[Tuple[Any, ...]]:
        """Scores of each class in percent, below :attr:`header`."""
        right = self.confusion.diagonal()
        true, predicted = self.confusion.sum(1), self.confusion.sum(0)
        rows = []
        for i, name in enumerate(self.classes[:-1]):
            average = metrics.get(f'coco/{name}_precision', float('nan'))
            rows.append(
                (
                    f'{100 * average:.1f}' if average >= 0 else '–',
                    _percent(right[i], true[i]),
                    _percent(right[i], predicted[i]),
                    int(true[i]),
                    int(predicted[i]),
                )
            )
        return rows

    def draw(
        self, image: np.ndarray, example: Example
    ) -> List[Tuple[str, np.ndarray]]:
        """The picture of an example, and what it shows."""
        zoom = max(1.0, _SIZE / max(image.shape[:2]))
        picture = cv2.resize(image, None, fx=zoom, fy=zoom)
        for box, colour, label, score in example.found:
            x1, y1, x2, y2 = (round(zoom * side) for side in box)
            cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 2)
            text = self.classes[label]
            text += f' {score:.2f}' if score is not None else ''
            (width, height), _ = cv2.getTextSize(text, FONT, 0.5, 1)
            # within the picture
            x = min(max(x1, 0), max(picture.shape[1] - width - 4, 0))
            y = max(y1, height + 6)
            corner = x + width + 4, y - height - 6
            cv2.rectangle(picture, (x, y), corner, colour, -1)
            ink = (0, 0, 0) if colour == MISSED else (255, 255, 255)
            place = (x + 2, y - 4)
            cv2.putText(picture, text, place, FONT, 0.5, ink, 1, cv2.LINE_AA)
        return [('', picture)]


def match(
    boxes: torch.Tensor,
    labels: Sequence[int],
    true_boxes: torch.Tensor,
    true_labels: Sequence[int],
    ignored: Sequence[bool],
) -> List[Tuple[int, int]]:
    """Pair predicted with true boxes, each once.

    Pairs of the same class come first, then those that overlap most; ignored
    true boxes come last.

    Args:
        boxes (Tensor): Shape (N, 4), corners.
        labels (Sequence[int]): Labels of the boxes.
        true_boxes (Tensor): Shape (M, 4).
        true_labels (Sequence[int]): Labels of the true boxes.
        ignored (Sequence[bool]): Whether each true box is ignored, such as a
            crowd.

    Returns:
        list[tuple]: Indices of a predicted and a true box.
    """
    from mmdet.structures.bbox import bbox_overlaps

    overlaps = bbox_overlaps(boxes.float(), true_boxes.float())
    candidates = sorted(
        (overlaps >= IOU_THR).nonzero().tolist(),
        key=lambda pair: (
            ignored[pair[1]],
            labels[pair[0]] != true_labels[pair[1]],
            -overlaps[tuple(pair)],
        ),
    )
    pairs: List[Tuple[int, int]] = []
    for i, j in candidates:
        if all(i != a and (j != b or ignored[j]) for a, b in pairs):
            pairs.append((i, j))
    return pairs


def _percent(part: float, whole: float) -> str:
    return f'{100 * part / whole:.1f}' if whole else '–'
