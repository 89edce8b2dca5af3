"""The Triton kernels: on a GPU, or on the CPU in Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch
from sweep import sweep

from mmrep.ops import depthwise_conv2d
from mmrep.ops.backends import triton, triton_tiles
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


@pytest.mark.parametrize('dtype', sweep(triton.DTYPES), ids=str)
@pytest.mark.parametrize('shape', sweep(SHAPES), ids=str)
def test_forward_and_gradients(shape, dtype):
    check(*make(shape, dtype))


@pytest.mark.slow
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16), ids=str)
@pytest.mark.parametrize('width', (16, 17))
def test_rows_that_begin_anywhere(width, dtype):
    """Views whose rows, planes or first element are not aligned."""
    _, weight, bias = make((2, 3, 9, width, 5, 5), dtype)
    for size, begin in ((48, 0), (48, 3), (50, 0), (width + 1, 1)):
        wide = torch.randn(2, 3, 9, size, device=DEVICE, dtype=dtype)
        part = wide[..., begin : begin + width]
        assert not part.is_contiguous()
        check(part.requires_grad_(), weight, bias)
    x = torch.randn(2 * 3 * 9 * width + 1, device=DEVICE, dtype=dtype)
    check(x[1:].view(2, 3, 9, width).requires_grad_(), weight, bias)


def test_weight_gradient_element_by_element(monkeypatch):
    monkeypatch.setattr(triton, 'precision', lambda x: 'tf32')
    x, weight, _ = make((2, 1, 20, 24, 7, 7), torch.float32)
    x, grad = x.detach(), torch.randn_like(x)
    want = reference(x, weight, None, grad)[2]
    assert_close(triton.grad_weight(grad, x, weight), want, factor=50)


@pytest.mark.slow
def test_offsets_of_more_than_32_bits():
    """Images, channels and rows that lie far apart; few pages are touched."""
    memory = torch.empty(2**31 + 2**13, device=DEVICE, dtype=torch.bfloat16)
    weight = torch.randn(2, 1, 3, 3, device=DEVICE, dtype=torch.bfloat16)
    for strides in (
        (2**31, 128, 16, 1),
        (128, 2**31, 16, 1),
        (256, 128, 2**28, 1),
    ):
        x = memory.as_strided((2, 2, 8, 16), strides)
        x.copy_(torch.randn(x.shape))
        grad = torch.randn_like(x)
        want = reference(x, weight, None, grad)
        assert_close(triton.forward(x, weight), want[0])
        assert_close(triton.grad_weight(grad, x, weight), want[2])


@pytest.mark.slow
@pytest.mark.parametrize('size', ((5, 12), (24, 40), (36, 10)), ids=str)
def test_steps_outside_of_the_map_are_left_out(size):
    """Blocks of many images and few rows, kernels as large as the map."""
    x, weight, bias = make((20, 1, *size, 2 * size[0] - 1, 21), torch.float32)
    check(x, weight, bias)


def test_kernels_start_on_the_device_of_their_tensors(monkeypatch):
    entered = []

    class Guard(torch.cuda.device_of):
        def __init__(self, tensor):
            entered.append(tensor.device)
            super().__init__(tensor)

    monkeypatch.setattr(torch.cuda, 'device_of', Guard)
    check(*make((1, 1, 8, 8, 3, 3), torch.float32))
    assert entered == 3 * [
        torch.device(DEVICE, 0 if DEVICE == 'cuda' else None)
    ]


@pytest.mark.gpu
@pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason='needs two CUDA devices'
)
def test_another_device_than_the_current():
    x, weight, bias = (
        t.detach().to('cuda:1').requires_grad_()
        for t in make((2, 3, 20, 24, 7, 7), torch.float32)
    )
    check(x, weight, bias)


@pytest.mark.parametrize('dtype', sweep(triton.DTYPES), ids=str)
def test_channels_last_slices_and_relu(dtype):
    x, weight, bias = make((2, 3, 20, 18, 7, 9), dtype)
    last = x.detach().to(memory_format=torch.channels_last)
    out = depthwise_conv2d(last, weight, bias, 'triton')
    assert out.stride() == last.stride()
    check(last.requires_grad_(), weight, bias, relu=True)
    part = x.detach()[:, :, 1:14, ::2]
    check(part.requires_grad_(), weight, bias)


@pytest.mark.slow
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


def test_the_default_is_what_should_take_the_least_time():
    small = Problem('cuda', torch.bfloat16, (1, 9, 16, 16), (13, 13), False)
    large = small._replace(shape=(64, 384, 64, 64), kernel=(31, 31))
    for kind in ('forward', 'grad_weight'):
        for problem in (small, large):
            first, *rest = triton.candidates(problem, kind)
            least = triton_tiles.clocks(first, problem, kind)
            assert all(
                least <= triton_tiles.clocks(config, problem, kind)
                for config in rest
            )
    # a single image does not fill the tiles of a batch
    assert (
        triton.candidates(small, 'forward')[0].patches
        < triton.candidates(large, 'forward')[0].patches
    )


@pytest.mark.parametrize(
    'n, rows, cols', ((64, 16, 4), (6, 32, 13), (1, 1, 1))
)
def test_blocks_of_patches(n, rows, cols):
    images, across = triton_tiles.block_of(n, rows, cols, 64)
    assert n % images == 0 and 64 % (images * across) == 0


def test_failures_of_the_compilers():
    from triton.runtime.errors import OutOfResources

    errors = (
        subprocess.CalledProcessError(1, 'gcc'),
        PermissionError('no cache'),
        OutOfResources(300000, 232448, 'shared memory'),
    )
    for error in errors:
        assert isinstance(error, triton.failures())


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
import re
import subprocess
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from mmrep.ops.backends import triton as backend, triton_kernels
from mmrep.ops.problem import Problem

PTXAS = Path(triton.__file__).parent / 'backends/nvidia/bin/ptxas'
PROBLEMS = [
    # N, C, H, W, K
    (64, 384, 64, 64, 31),
    (64, 384, 32, 32, 27),
    (64, 512, 14, 14, 27),
    (1, 128, 128, 128, 31),
    (1, 256, 25, 50, 29),
]


class Driver:
    def get_current_target(self):
        return GPUTarget('cuda', 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Compiled:
    def __getattr__(self, name):
        kernel = getattr(triton_kernels, name)
        return Starter(kernel)


class Starter:
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        def start(*args, **options):
            binary = self.kernel.warmup(*args, grid=grid, **options)
            if 'UPCAST' in options:
                check(binary, options)
        return start


def check(binary, options):
    ptx = binary.asm['ptx']
    assert binary.metadata.shared <= 232448, (dtype, shape, options)
    if precision == 'ieee' and dtype == torch.float32:
        return
    m = options['BM'] if 'RELU' in options else options['BK']
    assert ('wgmma' in ptx) == (m >= 64), (dtype, shape, options)
    sizes = set(re.findall(r'cp.async.c[ag].*, (0x[0-9a-f]+), ', ptx))
    # fp32 needs the inner dimension contiguous: the copies transpose
    wide = dtype != torch.float32 or 'RELU' in options
    assert sizes == {'0x10' if wide else '0x4'}, (dtype, shape, options)
    done = subprocess.run(
        [PTXAS, '-v', '--gpu-name=sm_90a', '-', '-o', '/dev/null'],
        input=ptx, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 'serialized' not in done.stderr, (dtype, shape, options)
    # a few around the loop do no harm
    spilled = int(re.search(r'(\\d+) bytes spill stores', done.stderr)[1])
    assert spilled <= 256, (dtype, shape, options)


driver.set_active(Driver())
backend._kernels = Compiled
backend.interpreted = lambda: False
backend.precision = lambda x: precision
for dtype, precision in (
    (torch.bfloat16, 'ieee'),
    (torch.float16, 'ieee'),
    (torch.float32, 'tf32'),
    (torch.float32, 'ieee'),
):
    for *shape, k in PROBLEMS:
        x = torch.empty(shape, dtype=dtype, device='meta')
        weight = x.new_empty(shape[1], 1, k, k)
        facts = 'cuda', dtype, tuple(shape), (k, k), False
        problem = Problem(*facts, tf32=precision == 'tf32')
        first = backend.config_for(problem, 'forward')
        backend.forward(x, weight, x.new_empty(shape[1]), True, first)
        first = backend.config_for(problem, 'grad_weight')
        backend.grad_weight(x, x, weight, first)
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
