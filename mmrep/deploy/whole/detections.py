"""Check whether a file finds the same as MMDetection's model."""

from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from mmrep.deploy.compare import Difference
from mmrep.deploy.whole.boxes import paste
from mmrep.deploy.whole.doubts import NEAR, ious
from mmrep.deploy.whole.picture import WholeModel
from mmrep.errors import UsageError

# Pixels by which a box may be off if the tolerance of scores is 1e-4.
PIXELS = 100
MASK_IOU = 0.999
# IoU from which on a detection may come from a doubtful box, or hang on it.
OF_DOUBT = 0.1


class Found(NamedTuple):
    """Detections of one picture.

    Attributes:
        boxes: Shape (n, 4).
        scores: Shape (n, ).
        labels: Shape (n, ).
        masks: Shape (n, H, W), bool; None if the detector has none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Any = None


class WholeDetector(WholeModel):
    """Base of one-stage and two-stage detectors.

    Args:
        model (nn.Module): A detector of MMDetection.
        input (str): See :class:`WholeModel`. Defaults to 'picture'.
    """

    @property
    def rules(self) -> Any:
        """``test_cfg`` of the head that decides."""
        raise NotImplementedError

    @property
    def decisions(self) -> Dict[str, Any]:
        """Thresholds, and the largest number of boxes of a picture."""
        rules = self.rules
        return dict(
            score_threshold=rules.get('score_thr', 0.0),
            iou_threshold=rules['nms']['iou_threshold'],
            mask_threshold=self.mask_threshold,
            max_per_image=rules['max_per_img'],
        )

    def expected(self, image: Tensor) -> Dict[str, Any]:
        """MMDetection's predictions for an input."""
        from mmdet.structures import DetDataSample

        (model,) = self._model
        shape = tuple(image.shape[2:])
        meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples = [DetDataSample(metainfo=meta) for _ in image]
        if self.input != 'normalised':
            data = dict(inputs=list(self.loaded(image)), data_samples=samples)
            data = model.data_preprocessor(data, False)
            x, samples = data['inputs'], data['data_samples']
        else:
            x = self.prepare(image)
        results = model.predict(x, samples, rescale=False)
        found = [sample.pred_instances for sample in results]
        return dict(
            found=[
                Found(r.bboxes, r.scores, r.labels, r.get('masks'))
                for r in found
            ],
            # computed only if something differs
            doubts=lambda: self.doubtful(image),
            pixels=partial(self.doubtful_pixels, image),
        )

    def doubtful(self, image: Tensor) -> List[Tensor]:
        """Boxes (n, 4) of each image that depend on the last digits.

        They are those that NMS, or the RPN, may or may not keep.
        """
        raise NotImplementedError

    def doubtful_pixels(
        self, images: Tensor, i: int, same: Sequence[Found], tolerance: float
    ) -> Tensor:
        """Pixels (n, H, W) that may or may not belong to a mask.

        Args:
            images (Tensor): Shape (N, C, H, W).
            i (int): Index of the image.
            same (list[Found]): The same n detections of it, from the model
                and from the file.
            tolerance (float): Largest difference of a probability.
        """
        raise NotImplementedError

    def compare(
        self,
        name: str,
        expected: Dict[str, Any],
        found: Dict[str, Tensor],
        tolerance: float,
    ) -> List[Difference]:
        """The largest differences; raise if a detection has no counterpart.

        There are none if neither side has a detection.
        """
        there = any(len(one.labels) for one in expected['found'])
        if not there and (found['labels'] < 0).all():
            return []
        worst: Dict[str, float] = {}
        for i, reference in enumerate(expected['found']):
            size = None if reference.masks is None else reference.masks.shape
            result = read_outputs(found, i, size, self.mask_threshold)
            own, same, both = _pair(reference, result, tolerance)
            if any(alone for _, alone in both):
                doubts = expected['doubts']()[i]
                _check_left(name, both, self.rules, doubts)
            if size is not None:
                pixels = partial(expected['pixels'], i, same, tolerance)
                own['masks'] = _mask_difference(name, same, pixels)
            worst = {key: max(worst.get(key, 0.0), own[key]) for key in own}
        return [Difference(key, v, v) for key, v in worst.items()]

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a pixel of a mask."""
        return self.rules.get('mask_thr_binary', 0.5)


def read_outputs(
    outputs: Dict[str, Tensor], image: int, size: Any, threshold: float
) -> Found:
    """The detections of one picture in a file's outputs, without padding.

    Args:
        outputs (dict[str, Tensor]): The outputs of the file.
        image (int): Index in the batch.
        size (tuple, optional): A size that ends in height and width, for masks
            within boxes that must be pasted.
        threshold (float): Minimum probability of a pixel of a mask.
    """
    labels = outputs['labels'][image]
    there = labels >= 0
    dets = outputs['dets'][image][there]
    masks = outputs.get('masks')
    if masks is not None:
        masks = masks[image][there]
        if masks.dtype != torch.bool and size is not None:
            masks = paste(masks, dets[:, :4], size[-2:]) >= threshold
    return Found(dets[:, :4], dets[:, 4], labels[there], masks)


def _pair(
    expected: Found, found: Found, tolerance: float
) -> Tuple[Dict[str, float], List[Found], List[Tuple[Found, List[int]]]]:
    """The largest differences, the same detections, those of one side."""
    pixels = tolerance * PIXELS
    left = set(range(len(found.labels)))
    alone: List[int] = []
    places: List[Tuple[int, int]] = []
    worst = dict(boxes=0.0, scores=0.0)
    for i, (box, score, label) in enumerate(zip(*expected[:3], strict=True)):
        pairs = [
            (
                (found.boxes[j] - box).abs().max().item(),
                (found.scores[j] - score).abs().item(),
                j,
            )
            for j in left
            if found.labels[j] == label
        ]
        pairs = [p for p in pairs if p[0] <= pixels and p[1] <= tolerance]
        if not pairs:
            alone.append(i)
            continue
        off, score_off, j = min(pairs)
        left.remove(j)
        places.append((i, j))
        worst['boxes'] = max(worst['boxes'], off)
        worst['scores'] = max(worst['scores'], score_off)
    same = [
        Found(
            *(None if v is None else v[[p[k] for p in places]] for v in side)
        )
        for k, side in enumerate((expected, found))
    ]
    return worst, same, [(expected, alone), (found, sorted(left))]


def _mask_difference(
    name: str, same: Sequence[Found], doubts: Callable[[], Tensor]
) -> float:
    """The largest 1 - IoU of two masks; raise if it is too large.

    Args:
        name (str): Name of the input.
        same (list[Found]): The same detections of both sides.
        doubts (Callable): Computes the pixels (n, H, W) that do not count; it
            is called only if masks differ too much with them.
    """
    masks = [found.masks for found in same]
    worst = max(map(_miss, *masks), default=0.0)
    if worst > 1 - MASK_IOU:
        sure = ~doubts()
        worst = max(map(_miss, *(m & sure for m in masks)))
    if worst > 1 - MASK_IOU:
        raise UsageError(
            f'a mask of the {name} input has an IoU of {1 - worst:.5f} with '
            f'that of the model, less than {MASK_IOU}; nothing was written.'
        )
    return worst


def _miss(expected: Tensor, found: Tensor) -> float:
    """1 - IoU, or 0 if only one pixel differs."""
    wrong = (expected != found).sum().item()
    if wrong <= 1:
        return 0.0
    return wrong / (expected | found).sum().item()


def _check_left(
    name: str,
    both: Sequence[Tuple[Found, List[int]]],
    rules: Any,
    doubts: Tensor,
) -> None:
    """Raise for a detection that only one side has without excuse."""
    for (result, alone), (other, _) in zip(both, both[::-1], strict=True):
        cut = rules.get('score_thr', 0.0)
        if len(other.scores) == rules['max_per_img']:
            # a detection that misses the cut there ranked after doubtful ones
            cut = max(cut, other.scores.min().item())
        for i in alone:
            score, label = result.scores[i], result.labels[i]
            if score.item() <= cut + NEAR:
                continue
            box = result.boxes[i : i + 1]
            if (ious(box, doubts) >= OF_DOUBT).any():
                continue
            rivals = torch.cat([r.boxes[r.labels == label] for r, _ in both])
            limit = rules['nms']['iou_threshold']
            if ((ious(box, rivals) - limit).abs() <= NEAR).any():
                continue
            raise UsageError(
                f'a detection of the {name} input, score {score:.5f} of '
                f'class {label}, appears in only one of the two outputs, the '
                f"file's and the model's ({sum(len(a) for _, a in both)} such "
                f'of {len(both[0][0].labels)}); nothing was written.'
            )
