"""The Triton kernels of the neighbourhood product against its plain form."""

import pytest
import torch
from sweep import sweep

from mmrep.models.layers import neighbourhood, neighbourhood_product
from mmrep.ops import product
from mmrep.ops.backends import triton

from .conftest import assert_close

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
REASON = triton.why_not(DEVICE, torch.float32)
pytestmark = pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')

SIZES = [
    # H, W, K, C
    (5, 5, 5, 4),
    (6, 9, 5, 3),
    (9, 8, 5, 16),
    (12, 5, 3, 70),
    (4, 7, 1, 2),
    (8, 15, 7, 8),
]


def make(height, width, size, channels, dtype=torch.float32):
    options = dict(device=DEVICE, dtype=dtype)
    weights = torch.randn(2, 2, height, width, size**2, **options)
    # heads behind the positions in memory, as the model has them
    value = torch.randn(2, height, width, 2, channels, **options)
    grad = torch.randn(2, 2, height, width, channels, **options)
    return weights, value.permute(0, 3, 1, 2, 4), grad


def expected(weights, value, grad, size):
    """Output and gradients of the product in one piece, in double."""
    leaves = [t.double().requires_grad_() for t in (weights, value)]
    out = neighbourhood._whole_product(*leaves, size)
    return out.detach(), *torch.autograd.grad(out, leaves, grad.double())


def check(weights, value, grad, size):
    found = (
        product.forward(weights, value, size),
        product.grad_weights(grad, value, size),
        product.grad_value(grad, weights, size),
    )
    for a, b in zip(found, expected(weights, value, grad, size), strict=True):
        assert a.dtype == value.dtype
        assert_close(a, b)


@pytest.mark.parametrize('shape', sweep(SIZES), ids=str)
def test_forward_and_gradients(shape):
    check(*make(*shape), shape[2])


@pytest.mark.slow
@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16), ids=str)
def test_half_precision(dtype):
    check(*make(6, 9, 5, 4, dtype), 5)


@pytest.mark.slow
def test_strides():
    """Slices of larger tensors, and a gradient that is one number."""
    weights, value, _ = make(12, 14, 5, 6)
    part = value[:, :, 2:9, ::2, 1:4]
    grad = torch.ones((), device=DEVICE).expand(part.shape)
    check(weights[:, :, 2:9, ::2], part, grad, 5)


def test_no_pictures():
    weights, value, grad = (t[:0] for t in make(6, 6, 3, 4))
    assert product.forward(weights, value, 3).shape == value.shape
    assert product.grad_weights(grad, value, 3).shape == weights.shape


@pytest.fixture
def chosen(monkeypatch):
    """As on a GPU, whichever device there is."""
    monkeypatch.setattr(product, 'takes', lambda value: not product._FAILURE)
    monkeypatch.setattr(product, '_FAILURE', [])


@pytest.mark.parametrize(
    'needed', sweep([(True, True), (True, False), (False, True)])
)
def test_the_layer_takes_them(chosen, monkeypatch, needed):
    calls = []
    start = product._start

    def counted(name, *args):
        calls.append(name)
        return start(name, *args)

    monkeypatch.setattr(product, '_start', counted)
    weights, value, grad = make(6, 7, 5, 4)
    leaves = [
        t.requires_grad_(need)
        for t, need in zip((weights, value), needed, strict=True)
    ]
    neighbourhood_product(*leaves, 5).backward(grad)
    names = ['product_kernel']
    names += ['weight_gradient_kernel'] if needed[0] else []
    names += ['value_gradient_kernel'] if needed[1] else []
    assert calls == names
    wanted = expected(weights.detach(), value.detach(), grad, 5)[1:]
    for leaf, want in zip(leaves, wanted, strict=True):
        if leaf.requires_grad:
            assert_close(leaf.grad, want)


def test_the_plain_form_takes_over(chosen, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError('no compiler')

    weights, value, grad = make(6, 7, 5, 4)
    want = expected(weights, value, grad, 5)
    monkeypatch.setattr(product, '_start', fail)
    value.requires_grad_()
    out = neighbourhood_product(weights, value, 5)
    assert_close(out.detach(), want[0])
    (warning,) = caplog.records
    assert 'no compiler' in warning.message
    out.backward(grad)
    assert_close(value.grad, want[2])


def test_other_errors_are_raised(chosen, monkeypatch):
    def fail(*args):
        raise torch.OutOfMemoryError('full')

    monkeypatch.setattr(product, '_start', fail)
    weights, value, _ = make(6, 7, 5, 4)
    with pytest.raises(torch.OutOfMemoryError, match='full'):
        neighbourhood_product(weights, value, 5)


def test_the_rule():
    """On a GPU that Triton knows, and in no interpreter."""
    value = torch.zeros(1, device=DEVICE)
    assert product.takes(value) is (DEVICE == 'cuda')
    assert not product.takes(value.double())
