import pytest
import torch
from sweep import sweep
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmrep.compat import roi_align as compat
from mmrep.compat.roi_align import roi_align_backward, roi_align_forward

from . import reference
from .boxes import BOX_SETS, random_boxes

SCALE = 0.25


def make_rois(boxes):
    images = torch.arange(len(boxes), dtype=boxes.dtype) % 2
    return torch.cat([images[:, None], boxes], 1)


@pytest.fixture(params=sweep(BOX_SETS, 3))
def rois(request):
    return make_rois(BOX_SETS[request.param][-7:])


def run(x, rois, bins, scale, ratio, pool_mode, aligned, grad_output=None):
    """Output and gradient of the operators."""
    shape = len(rois), x.size(1), *bins
    out = x.new_zeros(shape)
    places = x.new_zeros(2, *(shape if pool_mode == 0 else [0]))
    options = dict(
        aligned_height=bins[0],
        aligned_width=bins[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=pool_mode,
        aligned=aligned,
    )
    roi_align_forward(x, rois, out, *places, **options)
    if grad_output is None:
        grad_output = torch.ones_like(out)
    grad = torch.zeros_like(x)
    roi_align_backward(grad_output.to(x), rois, *places, grad, **options)
    return out, grad


def expect(x, rois, *args, grad_output=None):
    """The same by loops, in double precision."""
    x = x.double().requires_grad_()
    out = reference.roi_align(x, rois, *args)
    if grad_output is None:
        grad_output = torch.ones_like(out)
    grad = torch.zeros_like(x)
    if out.requires_grad:
        grad = torch.autograd.grad(out, x, grad_output.double())[0]
    return out.detach(), grad


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('pool_mode', [0, 1])
@pytest.mark.parametrize('ratio', [0, 2])
def test_against_loops(rois, ratio, pool_mode, aligned, without_torchvision):
    x = torch.randn(2, 3, 25, 24)
    if (rois[:, 3:] > 1000).any():
        rois = rois[:2]
    args = (2, 3), SCALE, ratio, pool_mode, aligned
    grad_output = torch.randn(len(rois), 3, 2, 3)
    found = run(x, rois, *args, grad_output)
    expected = expect(x, rois, *args, grad_output=grad_output)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('pool_mode', [0, 1])
@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1)])
def test_small_maps(shape, pool_mode, without_torchvision):
    x = torch.randn(2, 2, *shape)
    rois = make_rois(random_boxes(6) - 10)
    args = (3, 2), SCALE, 0, pool_mode, True
    for a, b in zip(run(x, rois, *args), expect(x, rois, *args), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('budget', [1, 300, 5000])
@pytest.mark.parametrize('pool_mode', [0, 1])
def test_in_steps(monkeypatch, pool_mode, budget, without_torchvision):
    """The size of a step does not change the answer."""
    x, rois = torch.randn(2, 3, 25, 24), make_rois(random_boxes(30))
    args = (3, 3), SCALE, 0, pool_mode, True
    expected = run(x, rois, *args)
    monkeypatch.setattr(compat, 'BUDGET', budget)
    for a, b in zip(run(x, rois, *args), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that an operator makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if not any(value.alias_info for value in returns):
            sizes = [t.numel() for t in tree_leaves(out) if torch.is_tensor(t)]
            self.size = max(self.size, *sizes, 0)
        return out


@pytest.mark.parametrize('pool_mode', [0, 1])
def test_memory_is_bounded(monkeypatch, pool_mode, without_torchvision):
    """A step holds little beside the map, however many RoIs there are."""
    monkeypatch.setattr(compat, 'BUDGET', 50_000)
    x, rois = torch.randn(2, 8, 50, 50), make_rois(random_boxes(400, 100.0))
    shape = 400, 8, 7, 7
    out, grad_output = x.new_zeros(shape), torch.ones(shape)
    places = x.new_zeros(2, *(shape if pool_mode == 0 else [0]))
    options = 7, 7, SCALE, 0, pool_mode, True
    with Largest() as largest:
        roi_align_forward(x, rois, out, *places, *options)
        if pool_mode == 1:
            grad = torch.zeros_like(x)
            roi_align_backward(grad_output, rois, *places, grad, *options)
    assert x.numel() <= largest.size <= 50_000 < out.numel()


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('pool_mode', [0, 1])
def test_nothing_but_points(pool_mode, aligned, without_torchvision):
    """RoIs without an extent have samples only if not aligned."""
    x = torch.randn(2, 3, 25, 24)
    rois = make_rois(random_boxes(3)[:, [0, 1, 0, 1]])
    args = (3, 2), SCALE, 0, pool_mode, aligned
    for a, b in zip(run(x, rois, *args), expect(x, rois, *args), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
@pytest.mark.parametrize('pool_mode', [0, 1])
def test_low_precision(pool_mode, dtype, without_torchvision):
    """Inside, everything is in single precision."""
    x = torch.randn(2, 3, 25, 24).to(dtype)
    rois = make_rois(random_boxes(10).round())
    args = (3, 3), SCALE, 0, pool_mode, True
    found = run(x, rois.to(dtype), *args)
    expected = run(x.float(), rois, *args)
    assert found[0].dtype == found[1].dtype == dtype
    torch.testing.assert_close(found[0], expected[0].to(dtype))
    if pool_mode == 1:
        torch.testing.assert_close(found[1], expected[1].to(dtype))


def test_autocast_of_mmdet(as_mmcv, without_torchvision):
    x = torch.randn(2, 3, 25, 24).bfloat16().requires_grad_()
    rois = make_rois(random_boxes(4)).bfloat16()
    as_mmcv.roi_align(x, rois, (3, 3), SCALE).sum().backward()
    assert x.grad.dtype == torch.bfloat16 and x.grad.any()


@pytest.mark.parametrize(
    'ratio, pool_mode, aligned',
    [
        (0, 'avg', True),
        (2, 'avg', False),
        (0, 'max', False),
        (2, 'max', True),
    ],
)
def test_gradcheck(as_mmcv, ratio, pool_mode, aligned, without_torchvision):
    x = torch.randn(2, 1, 5, 6, dtype=torch.double, requires_grad=True)
    rois = make_rois(random_boxes(4, 12.0).double())

    def operator(x):
        return as_mmcv.roi_align(
            x, rois, (2, 3), SCALE, ratio, pool_mode, aligned
        )

    assert torch.autograd.gradcheck(operator, x)


def test_channels_last_and_strided(without_torchvision):
    x, rois = torch.randn(2, 3, 25, 24), make_rois(random_boxes(8))
    args = (3, 2), SCALE, 0, 1, True
    expected = run(x, rois, *args)
    last = x.to(memory_format=torch.channels_last)
    strided = torch.randn(2, 3, 50, 24)[:, :, ::2].copy_(x)
    for other in (last, strided):
        for a, b in zip(run(other, rois, *args), expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize('pool_mode', [0, 1])
def test_rois_that_are_not_numbers(pool_mode, without_torchvision):
    """They neither fail nor spoil the others."""
    x, rois = torch.randn(2, 3, 25, 24), make_rois(random_boxes(6))
    args = (3, 2), SCALE, 0, pool_mode, True
    expected = run(x, rois[3:], *args)
    rois[0, 1], rois[1, 3], rois[2, 4] = torch.nan, torch.inf, -torch.inf
    out, _ = run(x, rois, *args)
    assert torch.equal(out[3:], expected[0])
    assert (out[:3] == (0 if pool_mode else -1e4)).all()


def test_mirrored_rois(without_torchvision):
    x = torch.randn(2, 3, 25, 24)
    rois = make_rois(random_boxes(6))
    mirrored = rois[:, [0, 3, 2, 1, 4]]
    args = (3, 2), SCALE, 2, 1, True
    out, _ = run(x, mirrored, *args)
    torch.testing.assert_close(out, run(x, rois, *args)[0].flip(3))


def test_gradient_adds_up(without_torchvision):
    x, rois = torch.randn(2, 3, 25, 24), make_rois(random_boxes(6))
    _, expected = run(x, rois, (3, 2), SCALE, 0, 1, True)
    grad = torch.ones_like(x)
    empty = x.new_zeros(0)
    ones = x.new_ones(6, 3, 3, 2)
    roi_align_backward(ones, rois, empty, empty, grad, 3, 2, SCALE, 0, 1, True)
    torch.testing.assert_close(grad, expected + 1)


@pytest.mark.parametrize('dtype', [torch.float, torch.half])
@pytest.mark.parametrize('aligned', [False, True])
def test_by_torchvision(with_torchvision, aligned, dtype):
    x, rois = torch.randn(2, 3, 9, 8).to(dtype), make_rois(random_boxes(5))
    args = (3, 2), SCALE, 2, 1, aligned
    grad_output = torch.randn(5, 3, 3, 2)
    found = run(x, rois, *args, grad_output)
    assert with_torchvision in (None, ['roi_align', '_roi_align_backward'])
    expected = expect(
        x, rois.to(dtype), *args, grad_output=grad_output.to(dtype)
    )
    tolerance = 1e-4 if dtype == torch.float else 1e-2
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(
            a.double(), b, rtol=tolerance, atol=tolerance
        )


def test_torchvision_stays_out(with_torchvision, monkeypatch):
    """It has no maximum, and its backward is not deterministic."""
    x, rois = torch.randn(2, 3, 9, 8), make_rois(random_boxes(5))
    run(x, rois, (3, 2), SCALE, 0, 0, True)
    monkeypatch.setattr(
        torch, 'are_deterministic_algorithms_enabled', lambda: True
    )
    run(x, rois, (3, 2), SCALE, 0, 1, True)
    assert not with_torchvision
