"""The operator against F.conv2d in double: forward and gradients."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrep.ops import available_backends, depthwise_conv2d, use_backend

from .conftest import assert_close, reference

# test_triton.py is for Triton, which takes long in its interpreter
RUNNING = [name for name in available_backends('cpu') if name != 'triton']
BACKENDS = ('auto', *RUNNING)
SHAPES = [
    # N, C, H, W, Kh, Kw
    (2, 3, 12, 12, 3, 3),
    (1, 5, 17, 23, 13, 13),
    (2, 4, 32, 31, 31, 31),
    (1, 2, 7, 9, 51, 5),
    (1, 3, 9, 7, 5, 51),
    (1, 2, 61, 53, 51, 51),
    (2, 3, 1, 1, 7, 7),
    (1, 3, 1, 37, 31, 31),
    (3, 1, 29, 1, 1, 1),
    (0, 3, 8, 8, 5, 5),
    (1, 17, 53, 47, 29, 27),
    (1, 2, 150, 40, 9, 9),
]


def check(x, weight, bias, backend, dtype=None):
    """Output and gradients against the reference; layout and type kept."""
    x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
    grad = torch.randn_like(x)
    out = depthwise_conv2d(x, weight, bias, backend)
    assert out.dtype == x.dtype
    got = (out, *torch.autograd.grad(out, (x, weight, bias), grad))
    for a, b in zip(got, reference(x, weight, bias, grad), strict=True):
        assert_close(a, b, dtype)
    return got


def make(n, c, h, w, kh, kw, dtype=torch.float32):
    return (
        torch.randn(n, c, h, w, dtype=dtype),
        torch.randn(c, 1, kh, kw, dtype=dtype),
        torch.randn(c, dtype=dtype),
    )


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('channels_last', (False, True))
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_forward_and_gradients(shape, channels_last, backend):
    x, weight, bias = make(*shape)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    out, grad_x, *_ = check(x, weight, bias, backend)
    if x.numel() and not x.is_contiguous():
        assert out.stride() == grad_x.stride() == x.stride()


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    'dtype', (torch.float16, torch.bfloat16, torch.float64)
)
def test_types(dtype, backend):
    check(*make(2, 3, 20, 19, 13, 11, dtype), backend)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('kernel', range(1, 52, 10))
def test_square_kernels(kernel, backend):
    check(*make(1, 3, 24, 23, kernel, kernel), backend)


@pytest.mark.parametrize('backend', BACKENDS)
def test_strided_inputs(backend):
    wide = torch.randn(4, 7, 30, 44)
    _, weight, bias = make(1, 3, 1, 1, 13, 13)
    check(wide[::2, 1:7:2, 3:25, ::2], weight, bias, backend)
    check(wide[:2, :3].transpose(2, 3), weight, bias, backend)
    weight = torch.randn(3, 1, 30, 30)[..., ::2, ::2][..., :13, :13]
    check(wide[:, :3], weight, bias, backend)


@pytest.mark.parametrize('backend', BACKENDS)
def test_expanded_gradient(backend):
    x, weight, _ = make(2, 3, 16, 16, 9, 9)
    x.requires_grad_()
    out = depthwise_conv2d(x, weight, backend=backend)
    (grad,) = torch.autograd.grad(out.sum(), x)
    ones = torch.ones_like(out)
    assert_close(grad, reference(x, weight, None, ones)[1])


@pytest.mark.parametrize('backend', RUNNING)
@pytest.mark.parametrize('kernel', ((3, 3), (7, 5), (1, 9)))
def test_gradcheck(backend, kernel):
    args = make(2, 2, 4, 3, *kernel, dtype=torch.double)
    args = [t.requires_grad_() for t in args]

    def conv(*args):
        return depthwise_conv2d(*args, backend=backend)

    assert torch.autograd.gradcheck(conv, args)
    assert torch.autograd.gradgradcheck(conv, args)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(0, 3),
    c=st.integers(1, 9),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    half=st.tuples(st.integers(0, 16), st.integers(0, 16)),
    backend=st.sampled_from(BACKENDS),
)
def test_any_shape(n, c, size, half, backend):
    check(*make(n, c, *size, 2 * half[0] + 1, 2 * half[1] + 1), backend)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('with_bias', (False, True))
def test_relu(with_bias, backend):
    x, weight, bias = make(2, 3, 20, 20, 11, 11)
    bias = bias if with_bias else None
    x.requires_grad_()
    out = depthwise_conv2d(x, weight, bias, backend, relu=True)
    assert_close(out, reference(x, weight, bias).relu())
    grad = torch.randn_like(out)
    (got,) = torch.autograd.grad(out, x, grad)
    grad = grad * (out > 0)
    assert_close(got, reference(x, weight, bias, grad)[1])


@pytest.mark.parametrize('backend', BACKENDS)
def test_results_are_deterministic(backend):
    x, weight, bias = make(2, 6, 40, 40, 27, 27)
    first = check(x, weight, bias, backend)
    # the gradient of the output is drawn at random in check()
    torch.manual_seed(0)
    make(2, 6, 40, 40, 27, 27)
    again = check(x, weight, bias, backend)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('value', (float('nan'), float('inf')))
def test_nan_and_inf_stay_in_their_plane(value, backend):
    x, weight, bias = make(3, 4, 24, 24, 13, 13)
    clean = depthwise_conv2d(x, weight, bias, backend)
    x[1, 2, 5, 7] = value
    out = depthwise_conv2d(x, weight, bias, backend)
    assert not out[1, 2].isfinite().all()
    touched = torch.zeros(3, 4, dtype=torch.bool)
    touched[1, 2] = True
    assert out[~touched].isfinite().all()
    assert_close(out[~touched], clean[~touched].double())


def test_only_the_fft_spreads_nan_over_the_map():
    x = torch.zeros(1, 1, 8, 8)
    x[..., :4] = float('nan')
    weight = torch.ones(1, 1, 3, 3)
    with use_backend('fft'):
        assert depthwise_conv2d(x, weight).isnan().all()
    assert not depthwise_conv2d(x, weight, backend='native').isnan().all()


@pytest.mark.parametrize(
    'shapes',
    [
        ((1, 2, 8), (2, 1, 3, 3)),
        ((1, 2, 8, 8), (2, 2, 3, 3)),
        ((1, 2, 8, 8), (2, 1, 4, 3)),
        ((1, 2, 8, 8), (2, 1, 3, 3), (3,)),
        ((1, 2, 0, 8), (2, 1, 3, 3)),
    ],
)
def test_wrong_shapes(shapes):
    with pytest.raises(ValueError, match='must'):
        depthwise_conv2d(*map(torch.zeros, shapes))


def test_wrong_dtype_and_backend():
    x, weight = torch.zeros(1, 2, 8, 8), torch.zeros(2, 1, 3, 3)
    with pytest.raises(TypeError, match='float16'):
        depthwise_conv2d(x, weight.half())
    with pytest.raises(TypeError, match='int32'):
        depthwise_conv2d(x.int(), weight.int())
    with pytest.raises(ValueError, match="got 'cutlass'"):
        depthwise_conv2d(x, weight, backend='cutlass')
    with pytest.raises(ValueError, match='meta'):
        depthwise_conv2d(x, weight.to('meta'))
