"""The FFT's tilings, its cache and what it keeps for the backward."""

import gc
import subprocess
import sys

import pytest
import torch

from mmrep.ops import depthwise_conv2d
from mmrep.ops.backends import fft
from mmrep.ops.backends.fft_tiling import (
    Tiling,
    column_work,
    cut_axis,
    good_size,
    line_work,
    plan_tiling,
)

from .conftest import assert_close, reference


@pytest.mark.parametrize('spectra', ('keep', 'drop'))
@pytest.mark.parametrize('tiles', ((1, 1), (1, 3), (2, 1), (4, 5)))
@pytest.mark.parametrize('kernel', ((31, 31), (5, 9), (51, 1), (1, 7)))
def test_every_tiling_gives_the_same(monkeypatch, kernel, tiles, spectra):
    x = torch.randn(2, 3, 37, 50)
    weight = torch.randn(3, 1, *kernel)
    bias = torch.randn(3)
    grad = torch.randn_like(x)
    tiling = Tiling(
        cut_axis(37, kernel[0], tiles[0], column_work),
        cut_axis(50, kernel[1], tiles[1], line_work),
    )
    assert tiling.tiles == tiles[0] * tiles[1]
    monkeypatch.setattr(fft, 'tiling_of', lambda *args: tiling)
    out, *kept = fft.forward(x, weight, bias, spectra=spectra)
    kept = kept if spectra == 'keep' else (None, None)
    grad_x, grad_w = fft.backward(grad, x, weight, True, True, *kept)
    want = reference(x, weight, bias, grad)
    for a, b in zip((out, grad_x, grad_w), want[:3], strict=True):
        assert_close(a, b)


def test_tiles_are_summed_in_single_precision(monkeypatch):
    x = torch.randn(1, 2, 64, 64).half()
    weight = torch.randn(2, 1, 31, 31).half()
    rows = cut_axis(64, 31, 4, column_work)
    tiling = Tiling(rows, cut_axis(64, 31, 4, line_work))
    monkeypatch.setattr(fft, 'tiling_of', lambda *args: tiling)
    out = fft.forward(x, weight)[0]
    assert out.dtype == torch.float16
    want = reference(x, weight)
    assert (out.double() - want).abs().max() / want.abs().max() < 5e-4


def test_blocks_of_planes_give_the_same(monkeypatch):
    x, weight = torch.randn(5, 7, 20, 20), torch.randn(7, 1, 9, 9)
    grad = torch.randn_like(x)
    want = reference(x, weight, None, grad)
    for elements in (1, 2000, 1 << 14):
        monkeypatch.setitem(fft.BLOCK_ELEMENTS, 'cpu', elements)
        got = (
            fft.forward(x, weight)[0],
            *fft.backward(grad, x, weight),
        )
        for a, b in zip(got, want, strict=True):
            assert_close(a, b)


def test_good_sizes_are_cheap_small_products():
    sizes = [good_size(n, line_work) for n in (1, 7, 11, 45, 143, 271)]
    assert sizes == [2, 8, 12, 48, 144, 288]
    # a power of two is worth a few more points
    assert good_size(119, line_work) == 128
    assert good_size(11, column_work) == 16


def test_work_grows_linearly_with_the_map():
    def work(size):
        tiling = plan_tiling((size, 2 * size), (31, 31))
        return tiling.tiles * tiling.points

    assert work(4096) < 4.4 * work(2048)
    assert plan_tiling((4096, 8192), (31, 31)).points < 1 << 20


def test_cached_spectrum_follows_the_weight():
    x = torch.randn(1, 3, 40, 40)
    weight = torch.nn.Parameter(torch.randn(3, 1, 31, 31))
    gc.collect()
    entries = len(fft.CACHE)
    with torch.no_grad():
        depthwise_conv2d(x, weight, backend='fft')
        assert len(fft.CACHE) == entries + 1
        # written without the version counter's notice, as EMA hooks do
        weight.data.copy_(torch.randn(3, 1, 31, 31))
        # 11 and 12 share a period, but not the taps that reach the map
        for size in (40, 24, 40, 11, 12):
            part = x[..., :size, :size]
            out = depthwise_conv2d(part, weight, backend='fft')
            assert_close(out, reference(part, weight))
    del weight, out
    gc.collect()
    assert len(fft.CACHE) == entries


def test_training_does_not_fill_the_cache():
    gc.collect()
    entries = len(fft.CACHE)
    weight = torch.randn(3, 1, 31, 31, requires_grad=True)
    depthwise_conv2d(torch.randn(1, 3, 40, 40), weight, backend='fft')
    assert len(fft.CACHE) == entries


def test_kept_spectra_save_transforms(monkeypatch):
    count = 0
    rfft = torch.fft.rfft

    def counted(*args, **kwargs):
        nonlocal count
        count += 1
        return rfft(*args, **kwargs)

    monkeypatch.setattr(torch.fft, 'rfft', counted)
    x = torch.randn(1, 3, 40, 40, requires_grad=True)
    weight = torch.randn(3, 1, 31, 31, requires_grad=True)
    out = depthwise_conv2d(x, weight, backend='fft')
    assert count == 2
    out.sum().backward()
    # only the gradient of the output is new
    assert count == 3


@pytest.mark.slow
def test_peak_memory_of_a_large_map():
    code = (
        'import resource, torch; from mmrep.ops import depthwise_conv2d\n'
        'x, w = torch.randn(1, 128, 256, 512), torch.randn(128, 1, 31, 31)\n'
        'def peak():\n'
        '    use = resource.getrusage(resource.RUSAGE_SELF)\n'
        '    return use.ru_maxrss * 1024\n'
        'start = peak()\n'
        'with torch.no_grad():\n'
        "    depthwise_conv2d(x, w, backend='fft')\n"
        'print((peak() - start) / (4 * x.numel()))'
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
    )
    # docs/operator.md says 1.3
    assert float(out.stdout) < 2
