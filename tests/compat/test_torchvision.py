"""Torchvision's kernels against mmrep's own, where both are there."""

import importlib.util
from itertools import product
from unittest import mock

import pytest
import torch

from mmrep.compat import torchvision
from mmrep.compat.nms import nms
from mmrep.compat.roi_align import roi_align_backward, roi_align_forward

from .boxes import BOX_SETS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('torchvision') is None,
    reason='torchvision is not installed',
)


@pytest.fixture(params=list(BOX_SETS))
def boxes(request):
    return BOX_SETS[request.param]


def both(function, *args, **kwargs):
    """By torchvision and by mmrep's own."""
    with mock.patch.object(torchvision, 'version', lambda: None):
        own = function(*args, **kwargs)
    return function(*args, **kwargs), own


@pytest.mark.parametrize('operator', torchvision.KERNELS)
def test_it_is_used(operator):
    assert torchvision.has_kernel(operator, 'cpu')
    assert torchvision.describe(operator) == (
        f'torchvision {torchvision.version()}'
    )


def test_nms(boxes):
    scores = torch.rand(len(boxes))
    for threshold in (0.3, 0.5, 0.7):
        found, own = both(nms, boxes, scores, threshold, 0)
        assert torch.equal(found, own), threshold


def test_roi_align(boxes):
    boxes = boxes[:60]
    x = torch.randn(2, 3, 25, 24)
    rois = torch.cat([torch.arange(len(boxes))[:, None] % 2, boxes], 1)
    for bins, ratio, aligned in product(
        ((7, 7), (1, 3)), (0, 2), (False, True)
    ):
        options = dict(
            aligned_height=bins[0],
            aligned_width=bins[1],
            spatial_scale=0.25,
            sampling_ratio=ratio,
            pool_mode=1,
            aligned=aligned,
        )
        weight = torch.randn(len(rois), 3, *bins) / max(len(rois), 1)

        def run(options=options, bins=bins, weight=weight):
            out = torch.zeros(len(rois), 3, *bins)
            empty, grad = torch.zeros(0), torch.zeros_like(x)
            roi_align_forward(x, rois, out, empty, empty, **options)
            roi_align_backward(weight, rois, empty, empty, grad, **options)
            return out, grad

        for a, b in zip(*both(run), strict=True):
            torch.testing.assert_close(
                a, b, rtol=0, atol=1e-5, msg=str(options)
            )
