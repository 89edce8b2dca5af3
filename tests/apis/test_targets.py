"""Test what models of a loop of one's own refuse, each in one line."""

import numpy as np
import pytest
import torch

import mmrep
from mmrep.apis.targets import read_target
from mmrep.errors import UsageError


def test_labels_of_boxes_that_are_no_class(detector_cfg):
    model = mmrep.create_model(detector_cfg, num_classes=2)
    boxes = torch.tensor([[8.0, 8, 40, 40]])
    target = dict(boxes=boxes, labels=torch.tensor([2]))
    target['masks'] = torch.ones(1, 64, 64)
    with pytest.raises(UsageError, match=r'labels must be 0 to 1, got 2 at 0'):
        model(torch.rand(1, 3, 64, 64), [target])


def test_wrong_images(segmentor_cfg, detector_cfg):
    segmentor = mmrep.create_model(segmentor_cfg)
    with pytest.raises(UsageError, match='must have 3 channels'):
        segmentor(torch.rand(2, 1, 64, 64))
    with pytest.raises(UsageError, match=r'shape \(N, C, H, W\)'):
        segmentor(torch.rand(3, 64, 64))
    with pytest.raises(UsageError, match=r'targets must have the shape'):
        segmentor(torch.rand(2, 3, 64, 64), torch.zeros(2, 32, 32))
    detector = mmrep.create_model(detector_cfg)
    with pytest.raises(UsageError, match='a dict for each of 2 images'):
        detector(torch.rand(2, 3, 64, 64), [{}])
    with pytest.raises(UsageError, match='a target must have boxes, labels'):
        detector(torch.rand(1, 3, 64, 64), [{}])


def target(**changes):
    found = dict(
        boxes=torch.tensor([[8.0, 8, 40, 40], [0, 0, 9, 9]]),
        labels=torch.tensor([0, 1]),
        masks=torch.ones(2, 64, 96),
    )
    return {**found, **changes}


def box(*numbers):
    return dict(boxes=torch.tensor([[1.0, 2, 3, 4], numbers]))


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        (box(40.0, 40, 10, 12), r'corners x1, .* got \[40.* at 1'),
        (box(8.0, 8, 8, 40), 'with x2 above x1'),
        (box(8.0, 8, 40, float('nan')), 'must be finite, got'),
        (box(8.0, 8, float('inf'), 9), 'must be finite, got'),
        (box(96.0, 8, 120, 40), 'in its image of 96x64 pixels'),
        (box(-9.0, -9, -1, 40), 'in its image of 96x64 pixels'),
        (dict(boxes=torch.rand(2, 5)), r'boxes .* shape \(2, 4\), as there'),
        (dict(boxes=torch.rand(8)), r'shape \(2, 4\), .* got \(8,\)'),
        (dict(boxes=[[1, 2, 3, 4]]), 'boxes of a target must be a torch.T'),
        (dict(labels=torch.tensor([0, 2])), 'labels must be 0 to 1, got 2 at'),
        (dict(labels=torch.tensor([0, -1])), 'labels must be 0 to 1, got -1'),
        (dict(labels=torch.tensor([0.0, 1])), 'integers, got torch.float32'),
        (dict(labels=torch.tensor([0, 1, 1])), 'as there are 3 labels'),
        (dict(labels=np.array([0, 1])), 'must be a torch.Tensor, got a nda'),
        (dict(masks=torch.ones(2, 96, 64)), r'masks .* \(2, 64, 96\)'),
        (dict(masks=None), 'masks of a target must be a torch.Tensor'),
    ],
)
def test_wrong_targets(changes, line):
    with pytest.raises(UsageError, match=line) as caught:
        read_target(target(**changes), (64, 96), 2, True)
    assert '\n' not in str(caught.value)


def test_targets_of_other_types():
    """Boxes of whole numbers, masks of truth, and nothing at all."""
    found = read_target(
        target(
            boxes=torch.tensor([[-8, 8, 40, 400], [0, 0, 9, 9]]),
            labels=torch.tensor([0, 1], dtype=torch.int32),
            masks=torch.ones(2, 64, 96, dtype=torch.bool),
        ),
        (64, 96),
        2,
        True,
    )
    kinds = {name: value.dtype for name, value in found.items()}
    assert kinds == dict(
        boxes=torch.float, labels=torch.long, masks=torch.uint8
    )
    nothing = dict.fromkeys(('boxes', 'labels'), torch.tensor([]))
    found = read_target(nothing, (64, 96), 2, False)
    assert found['boxes'].shape == (0, 4)
    assert found['labels'].dtype == torch.long


def test_inputs_of_other_types(segmentor_cfg, detector_cfg):
    segmentor = mmrep.create_model(segmentor_cfg)
    image = torch.rand(3, 64, 64)
    for images, line in (
        (np.zeros((1, 3, 64, 64)), 'images must be a torch.Tensor, got a nda'),
        ([image], 'images must be a torch.Tensor, got a list'),
        (image[None] * float('nan'), '0 to 1 .* got floats up to nan'),
    ):
        with pytest.raises(UsageError, match=line):
            segmentor(images)
    for targets, line in (
        ([image], 'targets must be a torch.Tensor, got a list'),
        (torch.zeros(1, 64, 64), 'targets must be integers, got torch.float'),
    ):
        with pytest.raises(UsageError, match=line):
            segmentor(image[None], targets)
    detector = mmrep.create_model(detector_cfg)
    for images, line in (
        (5, 'images must be a tensor .* got a int'),
        ([], 'got a list without them'),
        (['a.jpg'], 'an image must be a torch.Tensor, got a str'),
        ([image[None]], r'each image must have the shape \(C, H, W\)'),
    ):
        with pytest.raises(UsageError, match=line):
            detector(images)
    for targets, line in (
        ({}, 'a dict for each of 1 images, got a dict'),
        ([None], 'a target must have boxes, labels.* got a NoneType'),
    ):
        with pytest.raises(UsageError, match=line):
            detector([image], targets)
