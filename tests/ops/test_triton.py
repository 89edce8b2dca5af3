"""The Triton kernels: on a GPU, or on the CPU in Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from mmrep.ops import depthwise_conv2d
from mmrep.ops.backends import triton
from mmrep.ops.problem import Problem, uses_tf32

from .conftest import assert_close, reference

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
REASON = triton.why_not(DEVICE, torch.float32)
pytestmark = pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')

SHAPES = [
    # N, C, H, W, Kh, Kw
    (2, 3, 12, 12, 3, 3),
    (1, 2, 17, 23, 13, 13),
    (2, 1, 32, 31, 31, 31),
    (1, 2, 7, 9, 51, 5),
    (1, 2, 9, 7, 5, 51),
    (2, 3, 1, 1, 7, 7),
    (1, 1, 1, 37, 31, 31),
    (3, 1, 29, 1, 1, 1),
    (1, 2, 16, 16, 13, 13),
    (1, 1, 33, 65, 27, 29),
    (0, 3, 8, 8, 5, 5),
]


def make(shape, dtype):
    n, c, h, w, kh, kw = shape
    options = {'device': DEVICE, 'dtype': dtype}
    return (
        torch.randn(n, c, h, w, **options, requires_grad=True),
        torch.randn(c, 1, kh, kw, **options, requires_grad=True),
        torch.randn(c, **options, requires_grad=True),
    )


def check(x, weight, bias, relu=False):
    grad = torch.randn_like(x)
    out = depthwise_conv2d(x, weight, bias, 'triton', relu=relu)
    got = (out, *torch.autograd.grad(out, (x, weight, bias), grad))
    if relu:
        grad = grad * (out > 0)
    want = reference(x, weight, bias, grad)
    want = (want[0].relu() if relu else want[0], *want[1:])
    factor = 50 if triton.precision(x) == 'tf32' else 1
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, factor=factor)


@pytest.mark.parametrize('dtype', triton.DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_forward_and_gradients(shape, dtype):
    check(*make(shape, dtype))


@pytest.mark.parametrize('dtype', triton.DTYPES, ids=str)
def test_channels_last_slices_and_relu(dtype):
    x, weight, bias = make((2, 3, 20, 18, 7, 9), dtype)
    last = x.detach().to(memory_format=torch.channels_last)
    out = depthwise_conv2d(last, weight, bias, 'triton')
    assert out.stride() == last.stride()
    check(last.requires_grad_(), weight, bias, relu=True)
    part = x.detach()[:, :, 1:14, ::2]
    check(part.requires_grad_(), weight, bias)


@pytest.mark.parametrize('kind', ('forward', 'grad_weight'))
def test_every_configuration_gives_the_same(kind):
    x, weight, _ = make((2, 1, 21, 40, 11, 17), torch.float32)
    x, weight = x.detach(), weight.detach()
    grad = torch.randn_like(x)
    want = dict(
        zip(
            ('forward', 'grad_input', 'grad_weight'),
            reference(x, weight, None, grad),
            strict=True,
        )
    )
    problem = Problem.of(x, weight)
    factor = 50 if triton.precision(x) == 'tf32' else 1
    for config in triton.candidates(problem, kind):
        if kind == 'forward':
            out = triton.forward(x, weight, config=config)
        else:
            out = triton.grad_weight(grad, x, weight, config)
        assert_close(out, want[kind], factor=factor)


def test_strips_split_between_programs():
    x, weight, _ = make((4, 1, 64, 64, 3, 3), torch.float32)
    grad = torch.randn_like(x)
    out = triton.grad_weight(grad, x, weight)
    again = triton.grad_weight(grad, x, weight)
    assert torch.equal(out, again)
    factor = 50 if triton.precision(x) == 'tf32' else 1
    assert_close(out, reference(x, weight, None, grad)[2], factor=factor)


def test_nan_stays_in_its_plane():
    x, weight, _ = make((2, 2, 20, 20, 7, 7), torch.float32)
    x = x.detach()
    x[1, 0, 3, 3] = float('nan')
    out = depthwise_conv2d(x, weight, backend='triton')
    assert out[0].isfinite().all() and out[1, 1].isfinite().all()
    assert not out[1, 0].isfinite().all()


def test_tune_remembers_the_fastest():
    x, weight, _ = make((1, 1, 19, 19, 5, 5), torch.float32)
    problem = Problem.of(x, weight)
    pool = triton.candidates(problem, 'forward')
    times = {config: len(pool) - i for i, config in enumerate(pool)}
    best = triton.tune(problem, 'forward', times.get)
    assert best == pool[-1]
    assert triton.config_for(problem, 'grad_input') == best
    assert triton.tune(problem, 'forward', dict.fromkeys(pool, 0).get) == best


def test_tune_skips_what_does_not_run():
    x, weight, _ = make((1, 1, 18, 19, 5, 5), torch.float32)
    problem = Problem.of(x, weight)
    first, *rest = triton.candidates(problem, 'forward')

    def measure(config):
        if config in rest:
            raise RuntimeError('out of shared memory')
        return 1.0

    assert triton.tune(problem, 'forward', measure) == first
    rest.extend(triton.candidates(problem, 'grad_weight'))
    with pytest.raises(RuntimeError, match='shared memory'):
        triton.tune(problem, 'grad_weight', measure)


def test_strided_bias():
    x, weight, _ = make((1, 3, 9, 9, 5, 5), torch.float32)
    bias = torch.randn(3, 2, device=DEVICE)[:, 1]
    out = depthwise_conv2d(x, weight, bias, 'triton')
    assert_close(out, reference(x, weight, bias))


@pytest.mark.parametrize('allowed', (True, False))
def test_precision_follows_torch(monkeypatch, allowed):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', allowed)
    assert uses_tf32('cuda', torch.float32) is allowed
    assert not uses_tf32('cuda', torch.bfloat16)
    assert not uses_tf32('cpu', torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == 'cpu', reason='needs a CUDA device')
def test_cuda_graph_replays_the_kernels():
    x, weight, bias = make((2, 8, 32, 32, 13, 13), torch.float16)
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    want = depthwise_conv2d(x, weight, bias, 'triton')
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = depthwise_conv2d(x, weight, bias, 'triton')
    out.zero_()
    graph.replay()
    assert torch.equal(out, want)


COMPILE = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmrep.ops.backends import triton as backend, triton_kernels
from mmrep.ops.problem import Problem


def compile_for_sm90(kernel, config, consts, pointers):
    names = kernel.arg_names
    signature = {
        name: 'constexpr' if name in consts else pointers.get(name, 'i32')
        for name in names
    }
    values = {
        (i,): consts[n] for i, n in enumerate(names) if n in consts
    }
    aligned = {
        (i,): [['tt.divisibility', 16]]
        for i, n in enumerate(names)
        if n in pointers or n in ('stride_xn', 'stride_xc')
    }
    binary = triton.compile(
        ASTSource(kernel, signature, values, aligned),
        target=GPUTarget('cuda', 90, 32),
        options={'num_warps': config.warps, 'num_stages': config.stages},
    )
    assert 'wgmma' in binary.asm['ptx'] or config.patches < 64, config
    assert 'cp.async' in binary.asm['ptx']
    assert binary.metadata.shared <= 232448, config


for name, dtype in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
    problem = Problem('cuda', dtype, (8, 128, 128, 128), (31, 31), False)
    shared = dict(
        UNIT=8,
        UPCAST=False,
        PRECISION='tf32' if name == 'fp32' else 'ieee',
    )
    config = backend.config_for(problem, 'forward')
    cols = backend.span(128, 31, config.cols, 8)
    compile_for_sm90(
        triton_kernels.conv_kernel,
        config,
        dict(
            shared, LEFT=cols.offset, J=cols.reach, T=cols.tile,
            RO=config.rows, BM=config.patches, BK=config.depth,
            INNER=name == 'fp32', HAS_BIAS=True, RELU=True,
        ),
        dict.fromkeys(('x', 'table', 'bias', 'y'), '*' + name),
    )
    config = backend.config_for(problem, 'grad_weight')
    cols = backend.span(128, 31, config.cols, 8)
    compile_for_sm90(
        triton_kernels.correlation_kernel,
        config,
        dict(
            shared, LEFT=cols.offset, J=cols.reach, T=cols.tile,
            BM=config.patches, BK=config.depth,
        ),
        {'x': '*' + name, 'grad': '*' + name, 'partial': '*fp32'},
    )
"""


@pytest.mark.slow
def test_kernels_compile_for_hopper_without_one():
    env = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run(
        [sys.executable, '-'],
        input=COMPILE,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr
