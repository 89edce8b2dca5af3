"""The stand-in against mmcv's compiled operators, where those are there."""

import importlib
import importlib.util
from itertools import product

import pytest
import torch

from mmrep.compat import mmcv_ext
from mmrep.compat.nms import nms, softnms
from mmrep.compat.roi_align import roi_align_backward, roi_align_forward

from .boxes import BOX_SETS

# the stand-in's own arithmetic, not torchvision's
pytestmark = pytest.mark.usefixtures('without_torchvision')


@pytest.fixture(scope='module')
def compiled():
    spec = importlib.util.find_spec('mmcv._ext')
    if spec.origin == mmcv_ext.__name__:
        pytest.skip('mmcv has no compiled operators here')
    return importlib.import_module('mmcv._ext')


@pytest.fixture(params=list(BOX_SETS))
def boxes(request):
    return BOX_SETS[request.param]


def score_sets(count):
    """Scores of boxes: random, with ties, with some that are no numbers."""
    scores = torch.rand(count)
    yield scores
    yield (scores * 10).round() / 10
    scores = scores.clone()
    scores[::7] = torch.nan
    yield scores


def test_nms(compiled, boxes):
    for scores, threshold, offset in product(
        score_sets(len(boxes)), (0.0, 0.3, 0.5, 0.6, 0.7, 1.0), (0, 1)
    ):
        expected = compiled.nms(
            boxes, scores, iou_threshold=threshold, offset=offset
        )
        found = nms(boxes, scores, iou_threshold=threshold, offset=offset)
        assert torch.equal(found, expected), (threshold, offset)


def test_softnms(compiled, boxes):
    boxes = boxes[:600]
    for scores, method, offset, min_score in product(
        score_sets(len(boxes)), (0, 1, 2), (0, 1), (0.001, 0.2)
    ):
        options = dict(
            iou_threshold=0.3,
            sigma=0.5,
            min_score=min_score,
            method=method,
            offset=offset,
        )
        expected_dets = boxes.new_zeros(len(boxes), 5)
        expected = compiled.softnms(boxes, scores, expected_dets, **options)
        dets = boxes.new_zeros(len(boxes), 5)
        found = softnms(boxes, scores, dets, **options)
        assert torch.equal(found, expected), options
        n = len(found)
        torch.testing.assert_close(
            dets[:n], expected_dets[:n], rtol=0, atol=1e-6, equal_nan=True
        )


@pytest.mark.parametrize('pool_mode', [0, 1])
def test_roi_align(compiled, boxes, pool_mode):
    boxes = boxes[:100]
    x = torch.randn(2, 5, 25, 24)
    rois = torch.cat([torch.arange(len(boxes))[:, None] % 2, boxes], 1)
    for bins, ratio, aligned in product(
        ((7, 7), (1, 3)), (0, 1, 2, 3), (False, True)
    ):
        options = dict(
            aligned_height=bins[0],
            aligned_width=bins[1],
            spatial_scale=0.25,
            sampling_ratio=ratio,
            pool_mode=pool_mode,
            aligned=aligned,
        )
        # each bin as heavy as in a loss that averages over RoIs
        grad_output = torch.randn(len(rois), 5, *bins) / max(len(rois), 1)
        answers = []
        for forward, backward in (
            (compiled.roi_align_forward, compiled.roi_align_backward),
            (roi_align_forward, roi_align_backward),
        ):
            out, place_y, place_x = torch.zeros(3, len(rois), 5, *bins)
            grad_input = torch.zeros_like(x)
            forward(x, rois, out, place_y, place_x, **options)
            backward(
                grad_output, rois, place_y, place_x, grad_input, **options
            )
            answers.append((out, place_y, place_x, grad_input))
        for found, expected in zip(*reversed(answers), strict=True):
            torch.testing.assert_close(
                found, expected, rtol=0, atol=1e-5, msg=str(options)
            )
