"""Torchvision's kernels, real where it is installed."""

import importlib
import importlib.util
import sys
import types

import pytest
import torch

from mmrep.compat import torchvision

from . import reference

SCHEMAS = {
    'nms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'roi_align': '(Tensor input, Tensor rois, float spatial_scale, '
    'SymInt pooled_height, SymInt pooled_width, int sampling_ratio, '
    'bool aligned) -> Tensor',
    '_roi_align_backward': '(Tensor grad, Tensor rois, float spatial_scale, '
    'SymInt pooled_height, SymInt pooled_width, SymInt batch_size, '
    'SymInt channels, SymInt height, SymInt width, int sampling_ratio, '
    'bool aligned) -> Tensor',
}


@pytest.fixture
def as_mmcv(monkeypatch):
    """mmcv's functions on the operators here, also where it is compiled."""
    for name in ('nms', 'roi_align', 'focal_loss'):
        caller = importlib.import_module(f'mmcv.ops.{name}')
        operators = importlib.import_module(f'mmrep.compat.{name}')
        monkeypatch.setattr(caller, 'ext_module', operators)
    return importlib.import_module('mmcv.ops')


@pytest.fixture
def without_torchvision(monkeypatch):
    monkeypatch.setattr(torchvision, 'version', lambda: None)


@pytest.fixture
def with_torchvision(monkeypatch):
    """Its operators for the CPU, as plain loops where it is not installed.

    Returns:
        list: Receives the names of the stand-ins that were called.
    """
    if importlib.util.find_spec('torchvision') is not None:
        yield None
        return
    calls = []
    module = types.ModuleType('torchvision')
    module.__version__ = '0.0'
    monkeypatch.setitem(sys.modules, 'torchvision', module)

    def nms(dets, scores, iou_threshold):
        assert dets.dtype == scores.dtype
        calls.append('nms')
        return reference.nms(dets, scores, iou_threshold, 0)

    def roi_align(x, rois, scale, height, width, ratio, aligned):
        assert x.dtype == rois.dtype
        calls.append('roi_align')
        bins = height, width
        return reference.roi_align(x, rois, bins, scale, ratio, 1, aligned)

    def roi_align_backward(
        grad, rois, scale, height, width, n, c, h, w, ratio, aligned
    ):
        assert grad.dtype == rois.dtype
        calls.append('_roi_align_backward')
        x = grad.new_zeros(n, c, h, w, requires_grad=True)
        bins = height, width
        with torch.enable_grad():
            out = reference.roi_align(x, rois, bins, scale, ratio, 1, aligned)
        return torch.autograd.grad(out, x, grad)[0]

    library = torch.library.Library('torchvision', 'DEF')
    kernels = dict(
        nms=nms, roi_align=roi_align, _roi_align_backward=roi_align_backward
    )
    for name, schema in SCHEMAS.items():
        library.define(name + schema)
        library.impl(name, kernels[name], 'CPU')
    torchvision.version.cache_clear()
    yield calls
    library._destroy()
    torchvision.version.cache_clear()
