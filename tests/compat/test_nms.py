import time

import numpy as np
import pytest
import torch

from mmrep.compat import nms as compat
from mmrep.compat.nms import nms, softnms

from . import reference
from .boxes import BOX_SETS, random_boxes


@pytest.fixture(params=list(BOX_SETS))
def boxes(request):
    return BOX_SETS[request.param][:120]


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.31, 0.52, 0.73])
def test_nms(boxes, threshold, offset, without_torchvision):
    scores = torch.rand(len(boxes))
    found = nms(boxes, scores, threshold, offset)
    assert found.dtype == torch.long
    expected = reference.nms(boxes, scores, threshold, offset)
    assert torch.equal(found, expected)


@pytest.mark.parametrize('block, tile', [(1, 1), (2, 5), (7, 3), (64, 1000)])
def test_nms_in_blocks(monkeypatch, block, tile, without_torchvision):
    boxes, scores = random_boxes(100), torch.rand(100)
    expected = reference.nms(boxes, scores, 0.4, 0)
    monkeypatch.setitem(compat.BLOCK, 'cpu', block)
    monkeypatch.setitem(compat.TILE, 'cpu', tile)
    assert torch.equal(nms(boxes, scores, 0.4, 0), expected)


def test_nms_of_a_chain(without_torchvision):
    """Each box removes only the next: the answer needs all rounds."""
    start = torch.arange(200.0)
    boxes = torch.stack([start, start * 0, start + 3, start * 0 + 1], 1)
    scores = torch.linspace(1, 0.1, 200)
    found = nms(boxes, scores, 0.4, 0)
    assert found.tolist() == list(range(0, 200, 2))


def test_nms_threshold_is_exclusive(without_torchvision):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]])
    scores = torch.tensor([0.9, 0.8])
    # the IoU is 0.6, as far as single precision has it
    assert nms(boxes, scores, 0.6, 0).tolist() == [0, 1]
    assert nms(boxes, scores, 0.5999, 0).tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.double])
def test_nms_dtypes(dtype, without_torchvision):
    boxes = random_boxes(100).round()
    scores = (torch.randperm(100) / 128).to(dtype)
    expected = reference.nms(boxes.to(dtype), scores, 0.43, 0)
    assert torch.equal(nms(boxes.to(dtype), scores, 0.43, 0), expected)


def test_nms_by_torchvision(with_torchvision):
    boxes, scores = random_boxes(100), torch.rand(100)
    for dtype in (torch.float, torch.half):
        found = nms(boxes.to(dtype), scores, 0.41, 0)
        expected = reference.nms(boxes.to(dtype), scores, 0.41, 0)
        assert torch.equal(found, expected)
    assert with_torchvision in (None, ['nms', 'nms'])
    # torchvision has no offset
    found = nms(boxes, scores, 0.41, 1)
    assert torch.equal(found, reference.nms(boxes, scores, 0.41, 1))
    assert with_torchvision in (None, ['nms', 'nms'])


def test_nms_by_torchvision_in_single_precision(with_torchvision):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]])
    assert len(nms(boxes, torch.tensor([0.9, 0.8]), 0.6, 0)) == 2


def test_ten_thousand_boxes(without_torchvision):
    boxes, scores = random_boxes(10_000, 900.0), torch.rand(10_000)
    start = time.perf_counter()
    kept = nms(boxes, scores, 0.7, 0)
    # a loop over pairs takes minutes
    assert time.perf_counter() - start < 10
    assert 100 < len(kept) < 10_000


def test_nms_as_mmcv_calls_it(as_mmcv, without_torchvision):
    boxes, scores = random_boxes(80), torch.rand(80)
    dets, inds = as_mmcv.nms(
        boxes, scores, 0.4, score_threshold=0.2, max_num=9
    )
    candidates = (scores > 0.2).nonzero()[:, 0]
    expected = reference.nms(boxes[candidates], scores[candidates], 0.4, 0)
    expected = candidates[expected[:9]]
    assert torch.equal(inds, expected)
    assert torch.equal(dets[:, :4], boxes[expected])
    assert torch.equal(dets[:, 4], scores[expected])
    dets, inds = as_mmcv.nms(boxes.numpy(), scores.numpy(), 0.4)
    assert isinstance(dets, np.ndarray)
    assert inds.tolist() == reference.nms(boxes, scores, 0.4, 0).tolist()


@pytest.mark.parametrize('split_thr', [10000, 10])
@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms(as_mmcv, kind, split_thr, without_torchvision):
    boxes, scores = random_boxes(60), torch.rand(60)
    labels = torch.arange(60) % 3
    options = dict(type=kind, iou_threshold=0.3, split_thr=split_thr)
    dets, inds = as_mmcv.batched_nms(boxes, scores, labels, options)
    expected = {}
    for label in range(3):
        rows = (labels == label).nonzero()[:, 0]
        if kind == 'nms':
            keep = reference.nms(boxes[rows], scores[rows], 0.3, 0)
            new = scores[rows][keep]
        else:
            new, keep = reference.softnms(
                boxes[rows], scores[rows], 0.3, 0.5, 1e-3, 1, 0
            )
            new = new[:, 4]
        expected.update(zip(rows[keep].tolist(), new.tolist(), strict=True))
    assert sorted(inds.tolist()) == sorted(expected)
    assert (dets[:-1, 4] >= dets[1:, 4]).all()
    for index, score in zip(inds.tolist(), dets[:, 4].tolist(), strict=True):
        assert score == pytest.approx(expected[index], abs=1e-6)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
@pytest.mark.parametrize('min_score', [0.001, 0.21])
def test_softnms(boxes, min_score, method, offset):
    if offset == 0:
        # what 0/0 gives is not for a reference to say
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    scores = torch.rand(len(boxes))
    dets = boxes.new_full((len(boxes), 5), -7.0)
    found = softnms(boxes, scores, dets, 0.31, 0.5, min_score, method, offset)
    expected_dets, expected = reference.softnms(
        boxes, scores, 0.31, 0.5, min_score, method, offset
    )
    n = len(found)
    if len(boxes.unique(dim=0)) == len(boxes):
        assert torch.equal(found, expected)
    torch.testing.assert_close(
        dets[:n], expected_dets.float(), rtol=1e-5, atol=1e-6
    )
    assert (dets[n:] == -7).all()


def test_softnms_fills_gaps_from_the_end():
    """Dropped boxes give their place, and so the tie, to the last ones."""
    boxes = torch.tensor(
        [[0.0, 0, 9, 9], [0, 0, 9, 8], [40, 0, 45, 5], [60, 0, 65, 5]]
    )
    scores = torch.tensor([0.9, 0.8, 0.5, 0.5])
    dets = boxes.new_zeros(4, 5)
    found = softnms(boxes, scores, dets, 0.3, 0.5, 0.3, 0, 0)
    assert found.tolist() == [0, 3, 2]


def test_softnms_keeps_its_input():
    boxes, scores = random_boxes(20), torch.rand(20)
    copies = boxes.clone(), scores.clone()
    softnms(boxes, scores, boxes.new_zeros(20, 5), 0.3, 0.5, 0.01, 1, 0)
    assert torch.equal(boxes, copies[0]) and torch.equal(scores, copies[1])


def test_softnms_as_mmcv_calls_it(as_mmcv):
    boxes, scores = random_boxes(40), torch.rand(40)
    for method, code in (('naive', 0), ('linear', 1), ('gaussian', 2)):
        dets, inds = as_mmcv.soft_nms(
            boxes, scores, 0.31, sigma=0.4, min_score=0.05, method=method
        )
        expected_dets, expected = reference.softnms(
            boxes, scores, 0.31, 0.4, 0.05, code, 0
        )
        assert torch.equal(inds, expected)
        torch.testing.assert_close(
            dets, expected_dets.float(), rtol=1e-5, atol=1e-6
        )
