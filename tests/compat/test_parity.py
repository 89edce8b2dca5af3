"""The stand-in against mmcv's compiled operators, where those are there."""

import importlib

import pytest
import torch

from mmrep.compat import mmcv_ext
from mmrep.compat.nms import nms, softnms
from mmrep.compat.roi_align import roi_align_backward, roi_align_forward

from .boxes import BOX_SETS


@pytest.fixture(scope='module')
def compiled():
    spec = importlib.util.find_spec('mmcv._ext')
    if spec.origin == mmcv_ext.__name__:
        pytest.skip('mmcv has no compiled operators here')
    return importlib.import_module('mmcv._ext')


@pytest.fixture(params=list(BOX_SETS))
def boxes(request):
    return BOX_SETS[request.param]


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.5, 0.6, 0.7, 1.0])
def test_nms(compiled, boxes, threshold, offset, ties):
    scores = torch.rand(len(boxes))
    scores = (scores * 10).round() / 10 if ties else scores
    expected = compiled.nms(
        boxes, scores, iou_threshold=threshold, offset=offset
    )
    found = nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert torch.equal(found, expected)


def test_nms_of_nan_scores(compiled):
    boxes, scores = BOX_SETS['random'], torch.rand(200)
    scores[::7] = torch.nan
    expected = compiled.nms(boxes, scores, iou_threshold=0.5, offset=0)
    found = nms(boxes, scores, iou_threshold=0.5, offset=0)
    assert torch.equal(found, expected)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
@pytest.mark.parametrize('min_score', [0.001, 0.2])
def test_softnms(compiled, boxes, min_score, method, offset, ties):
    scores = torch.rand(len(boxes))
    scores = (scores * 10).round() / 10 if ties else scores
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
    assert torch.equal(found, expected)
    dets, expected_dets = dets[: len(found)], expected_dets[: len(found)]
    torch.testing.assert_close(
        dets, expected_dets, rtol=0, atol=1e-6, equal_nan=True
    )


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('pool_mode', [0, 1])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('bins', [(7, 7), (1, 3)])
def test_roi_align(compiled, boxes, bins, sampling_ratio, pool_mode, aligned):
    boxes = boxes[:100]
    x = torch.randn(2, 5, 25, 24)
    rois = torch.cat([torch.arange(len(boxes))[:, None] % 2, boxes], 1)
    options = dict(
        aligned_height=bins[0],
        aligned_width=bins[1],
        spatial_scale=0.25,
        sampling_ratio=sampling_ratio,
        pool_mode=pool_mode,
        aligned=aligned,
    )
    grad_output = torch.randn(len(rois), 5, *bins)
    answers = []
    for forward, backward in (
        (compiled.roi_align_forward, compiled.roi_align_backward),
        (roi_align_forward, roi_align_backward),
    ):
        out, place_y, place_x = torch.zeros(3, len(rois), 5, *bins)
        grad_input = torch.zeros_like(x)
        forward(x, rois, out, place_y, place_x, **options)
        backward(grad_output, rois, place_y, place_x, grad_input, **options)
        answers.append((out, place_y, place_x, grad_input))
    for found, expected in zip(*reversed(answers), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
