"""Sliding windows: MMSegmentation's result, in less memory."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from mmrep.apis.slide import _Rows, slide_labels, window_starts


@pytest.mark.parametrize(
    'length, crop, stride, starts',
    [
        (10, 16, 8, [0]),
        (16, 16, 8, [0]),
        (17, 16, 8, [0, 1]),
        (32, 16, 8, [0, 8, 16]),
        (40, 16, 10, [0, 10, 20, 24]),
    ],
)
def test_window_starts(length, crop, stride, starts):
    assert window_starts(length, crop, stride) == starts


@pytest.mark.parametrize(
    'size, crop, stride',
    [
        ((70, 101), (32, 48), (20, 31)),
        ((64, 64), (32, 32), (32, 32)),
        ((40, 90), (64, 64), (43, 43)),
    ],
)
def test_labels_are_those_of_mmseg(segmentor, size, crop, stride):
    image = np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)
    labels = slide_labels(segmentor, image, crop, stride)
    inputs = segmentor.data_preprocessor(
        dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)]), False
    )['inputs']
    segmentor.test_cfg.update(crop_size=crop, stride=stride)
    with torch.no_grad(), DefaultScope.overwrite_default_scope('mmseg'):
        logits = segmentor.slide_inference(inputs, [dict()])
    expected = logits.argmax(1)[0].numpy()
    assert labels.shape == size and len(np.unique(expected)) > 1
    # sums in another order may turn a tie
    assert (labels != expected).mean() < 1e-3


def test_memory_does_not_grow_with_height(segmentor, monkeypatch):
    held = []
    create = _Rows.__init__

    def record(self, *args):
        create(self, *args)
        held.append(self.sums.numel())

    monkeypatch.setattr(_Rows, '__init__', record)
    for height in (64, 640):
        image = np.zeros((height, 64, 3), np.uint8)
        labels = slide_labels(segmentor, image, (32, 32), (32, 32))
        assert labels.shape == (height, 64) and labels.dtype == np.uint8
    assert held == [segmentor.out_channels * 32 * 64] * 2


def test_rows_average_what_overlaps():
    rows = _Rows(1, 4, 3)
    rows.add(torch.full((1, 4, 3), 2.0), 0, 0)
    rows.add(torch.full((1, 4, 2), 4.0), 0, 1)
    taken = {lines.start: x.clone() for lines, x in rows.take(0, 2)}
    assert list(taken) == [0]
    assert taken[0][0].tolist() == [[2, 3, 3]] * 2
    # the ring goes on: lines 2 and 3 stay, 4 and 5 take the free places
    rows.add(torch.full((1, 4, 3), 6.0), 2, 0)
    taken = {lines.start: x.clone() for lines, x in rows.take(2, 6)}
    assert taken[2][0].tolist() == [[4, 4, 4]] * 2
    assert taken[4][0].tolist() == [[6, 6, 6]] * 2
