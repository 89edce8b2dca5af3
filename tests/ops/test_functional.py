"""The operator against F.conv2d in double: forward and gradients."""

import pytest
import torch

from mmrep.ops import depthwise_conv2d, use_backend

from .conftest import assert_close, reference

BACKENDS = ('auto', 'native', 'fft')
SHAPES = [
    # N, C, H, W, Kh, Kw
    (2, 3, 12, 12, 3, 3),
    (1, 5, 17, 23, 13, 13),
    (2, 4, 32, 31, 31, 31),
    (1, 2, 7, 9, 51, 5),
    (1, 3, 9, 7, 5, 51),
    (2, 3, 1, 1, 7, 7),
    (1, 3, 1, 37, 31, 31),
    (3, 1, 29, 1, 1, 1),
    (0, 3, 8, 8, 5, 5),
    (1, 17, 53, 47, 29, 27),
    (1, 2, 150, 40, 9, 9),
]


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('channels_last', (False, True))
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_forward_and_gradients(shape, channels_last, backend):
    n, c, h, w, kh, kw = shape
    x = torch.randn(n, c, h, w)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    weight = torch.randn(c, 1, kh, kw, requires_grad=True)
    bias = torch.randn(c, requires_grad=True)
    grad = torch.randn(n, c, h, w)
    out = depthwise_conv2d(x, weight, bias, backend)
    got = (out, *torch.autograd.grad(out, (x, weight, bias), grad))
    for a, b in zip(got, reference(x, weight, bias, grad), strict=False):
        assert_close(a, b)


@pytest.mark.parametrize('backend', ('native', 'fft'))
@pytest.mark.parametrize('kernel', ((3, 3), (7, 5), (1, 9)))
def test_gradcheck(backend, kernel):
    x = torch.randn(2, 2, 6, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 1, *kernel, dtype=torch.double, requires_grad=True)
    bias = torch.randn(2, dtype=torch.double, requires_grad=True)

    def conv(*args):
        return depthwise_conv2d(*args, backend=backend)

    assert torch.autograd.gradcheck(conv, (x, weight, bias))
    assert torch.autograd.gradgradcheck(conv, (x, weight, bias))


def test_use_backend_is_taken_and_left():
    x = torch.full((1, 1, 8, 8), float('nan'))
    x[..., 4:] = 0
    weight = torch.ones(1, 1, 3, 3)
    with use_backend('fft'):
        spread = depthwise_conv2d(x, weight)
    assert spread.isnan().all()
    assert not depthwise_conv2d(x, weight).isnan().all()


@pytest.mark.parametrize(
    'args, error',
    [
        (((1, 2, 8), (2, 1, 3, 3)), ValueError),
        (((1, 2, 8, 8), (2, 2, 3, 3)), ValueError),
        (((1, 2, 8, 8), (2, 1, 4, 3)), ValueError),
        (((1, 2, 8, 8), (2, 1, 3, 3), (3,)), ValueError),
    ],
)
def test_wrong_shapes(args, error):
    with pytest.raises(error, match='must'):
        depthwise_conv2d(*map(torch.zeros, args))


def test_wrong_dtype_and_backend():
    x, weight = torch.zeros(1, 2, 8, 8), torch.zeros(2, 1, 3, 3)
    with pytest.raises(TypeError, match='float16'):
        depthwise_conv2d(x, weight.half())
    with pytest.raises(TypeError, match='int32'):
        depthwise_conv2d(x.int(), weight.int())
    with pytest.raises(ValueError, match='cutlass'):
        depthwise_conv2d(x, weight, backend='cutlass')
