"""What a GPU may refuse that the interpreter does not.

Sizes of grids, shared memory of smaller cards, memory that is asked for while
a CUDA graph is recorded, streams, and how many kernels a network compiles.
"""

import os
import random
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mmrep.ops import depthwise_conv2d
from mmrep.ops.backends import triton, triton_tiles
from mmrep.ops.problem import Problem

from .conftest import assert_close, reference

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
REASON = triton.why_not(DEVICE, torch.float32)
pytestmark = pytest.mark.skipif(REASON is not None, reason=f'Triton: {REASON}')
FP32_AND_BF16 = torch.float32, torch.bfloat16
# Most programs along the axes of a grid.
GRID = 2**31 - 1, 65535, 65535
# RepLKNet-31B's shapes, C, size, K, of a 512x512 image.
STAGES = (128, 128, 31), (256, 64, 29), (512, 32, 27), (1024, 16, 13)
# Bytes of shared memory of a program, by compute capability: of an A100, an
# RTX 3090 or 4090, an H100, a B200, an RTX 5090.
ROOMS = {80: 166912, 86: 101376, 90: 232448, 100: 232448, 120: 101376}


@pytest.fixture
def started(monkeypatch):
    """Kernels that only note how they are started: (name, grid, options)."""
    calls = []

    class Kernel:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, grid):
            return lambda *args, **options: calls.append(
                (self.name, grid, options)
            )

    names = (
        'table_kernel', 'conv_kernel', 'correlation_kernel', 'diagonal_kernel',
    )  # fmt: skip
    kernels = SimpleNamespace(**{name: Kernel(name) for name in names})
    monkeypatch.setattr(triton, '_kernels', lambda: kernels)
    monkeypatch.setattr(triton, 'interpreted', lambda: False)
    return calls


def run_all(shape, k, dtype=torch.bfloat16):
    """The three directions on tensors without values."""
    x = torch.empty(shape, dtype=dtype, device='meta')
    weight = x.new_empty(shape[1], 1, k, k)
    triton.forward(x, weight)
    triton.grad_input(x, x, weight)
    triton.grad_weight(x, x, weight)


@pytest.mark.parametrize(
    'shape, k',
    (
        ((1, 70_000, 8, 8), 5),
        ((1, 140_001, 1, 1), 3),
        ((4096, 64, 112, 112), 31),
        ((1, 1, 8192, 16384), 51),
        ((2, 3, 2000, 1), 3999),
    ),
    ids=str,
)
def test_grids_are_not_too_large(started, shape, k):
    run_all(shape, k)
    assert {'conv_kernel', 'correlation_kernel'} <= {c[0] for c in started}
    for name, grid, _ in started:
        sizes = (*grid, 1, 1)[:3]
        assert all(0 < a <= b for a, b in zip(sizes, GRID, strict=True)), (
            name,
            grid,
        )


def test_many_channels_in_parts(monkeypatch):
    monkeypatch.setattr(triton, 'MOST_CHANNELS', 2)
    x = torch.randn(2, 5, 9, 10, device=DEVICE, requires_grad=True)
    weight = torch.randn(5, 1, 5, 7, device=DEVICE, requires_grad=True)
    bias = torch.randn(5, device=DEVICE, requires_grad=True)
    grad = torch.randn_like(x)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = x.detach().to(memory_format=layout).requires_grad_()
        out = depthwise_conv2d(x, weight, bias, 'triton')
        assert out.is_contiguous(memory_format=layout)
        got = (out, *torch.autograd.grad(out, (x, weight, bias), grad))
        want = reference(x, weight, bias, grad)
        factor = 50 if triton.precision(x) == 'tf32' else 1
        for a, b in zip(got, want, strict=True):
            assert_close(a, b, factor=factor)


def test_nothing_waits_for_values(started):
    """Tensors without values: asking for one, as no graph may, raises."""
    for c, size, k in STAGES:
        run_all((2, c, size, size), k)
        run_all((2, c, size + 3, size + 5), k)
    with pytest.raises(RuntimeError):
        torch.empty(1, device='meta').item()
    # forward 2, input gradient 2, weight gradient 2
    assert len(started) == 6 * 2 * len(STAGES)


def test_a_call_makes_the_same_tensors_each_time():
    """What a CUDA graph records must not depend on earlier calls."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Made(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                made.append((str(function), tuple(out.shape)))
            return out

    x = torch.randn(1, 2, 9, 12, device=DEVICE)
    weight = torch.randn(2, 1, 5, 5, device=DEVICE)
    runs = []
    for _ in range(3):
        made = []
        with Made():
            triton.forward(x, weight)
            triton.grad_weight(x, x, weight)
        assert made
        runs.append([entry for entry in made if 'empty' in entry[0]])
    assert runs[1] == runs[2]


def test_few_kernels_for_pictures_of_all_sizes(started):
    """Each set of options is compiled: a few, however the sizes vary."""
    rng = random.Random(0)
    for _ in range(150):
        height, width = rng.randrange(16, 400), rng.randrange(16, 400)
        run_all((rng.choice((1, 2, 8)), 128, height, width), 31)
    kinds = {}
    for name, _, options in started:
        kinds.setdefault(name, set()).add(str(sorted(options.items())))
    counts = {name: len(found) for name, found in kinds.items()}
    assert counts['conv_kernel'] <= 16, counts
    assert counts['correlation_kernel'] <= 40, counts
    assert counts['table_kernel'] + counts['diagonal_kernel'] <= 24, counts


def test_few_kernels_for_a_network(started):
    """RepLKNet-31B in training: seconds of compiling, not minutes."""
    for c, size, k in STAGES:
        run_all((8, c, size, size), k)
    kinds = {
        (name, str(sorted(options.items()))) for name, _, options in started
    }
    assert len(kinds) <= 5 * len(STAGES)


@pytest.mark.parametrize('room', ROOMS.values(), ids=map(str, ROOMS))
@pytest.mark.parametrize('tf32', (False, True))
@pytest.mark.parametrize('dtype', FP32_AND_BF16, ids=str)
def test_tiles_for_smaller_cards(monkeypatch, room, dtype, tf32):
    monkeypatch.setattr(triton_tiles, 'shared_bytes', lambda device: room)
    for c, size, k in (*STAGES, (64, 8, 7), (3, 1, 3)):
        problem = Problem(
            'cuda', dtype, (1, c, size, size), (k, k), False, tf32=tf32
        )
        for kind in ('forward', 'grad_weight'):
            pool = triton_tiles.candidates(problem, kind)
            assert pool
            for config in pool:
                step = triton_tiles.step_bytes(config, kind, dtype.itemsize)
                assert config.stages * step <= room


def test_each_card_has_its_own_tiles(monkeypatch):
    """Two cards in one machine; the first must not decide for the second."""
    problem = Problem(
        'cuda', torch.float16, (8, 128, 128, 128), (31, 31), False
    )
    pools = []
    for room in (ROOMS[90], ROOMS[86]):
        monkeypatch.setattr(
            triton_tiles, 'shared_bytes', lambda device, room=room: room
        )
        pools.append(triton_tiles.candidates(problem, 'forward'))
    assert set(pools[1]) < set(pools[0])


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16), ids=str)
def test_mixed_precision(dtype):
    """Autocast computes in the half type, gradients are single again."""
    x = torch.randn(2, 3, 12, 12, device=DEVICE, requires_grad=True)
    weight = torch.randn(3, 1, 7, 7, device=DEVICE, requires_grad=True)
    bias = torch.randn(3, device=DEVICE, requires_grad=True)
    with torch.autocast(DEVICE, dtype):
        out = depthwise_conv2d(x, weight, bias, 'triton')
    assert out.dtype == dtype
    grad = torch.randn_like(out)
    # as a loss scaler does
    got = torch.autograd.grad(out, (x, weight, bias), 1024 * grad)
    want = reference(x, weight, bias, grad)
    assert_close(out, want[0])
    for a, b in zip(got, want[1:], strict=True):
        assert a.dtype == torch.float32
        assert_close(a / 1024, b, dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == 'cpu', reason='needs a CUDA device')
def test_another_stream():
    """Kernels run behind what the stream has before them."""
    x = torch.randn(8, 64, 64, 64, device=DEVICE)
    weight = torch.randn(64, 1, 31, 31, device=DEVICE)
    want = reference(x, weight)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = x.clone()
        out = depthwise_conv2d(late, weight, backend='triton')
    torch.cuda.current_stream().wait_stream(stream)
    assert_close(out, want, factor=50)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == 'cpu', reason='needs a CUDA device')
def test_cuda_graph_of_a_training_step():
    """Forward and both gradients recorded; new values in place."""
    x = torch.randn(4, 16, 32, 32, device=DEVICE, requires_grad=True)
    weight = torch.randn(16, 1, 13, 13, device=DEVICE, requires_grad=True)
    grad = torch.randn_like(x)

    def step():
        out = depthwise_conv2d(x, weight, backend='triton')
        return (out, *torch.autograd.grad(out, (x, weight), grad))

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
        weight.copy_(torch.randn_like(weight))
    graph.replay()
    want = reference(x, weight, None, grad)
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, factor=50)


COMPILE = """
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from mmrep.ops.backends import triton as backend, triton_kernels, triton_tiles

capability, room = map(int, sys.argv[1:])


class Driver:
    def get_current_target(self):
        return GPUTarget('cuda', capability, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Compiled:
    def __getattr__(self, name):
        return Starter(getattr(triton_kernels, name))


class Starter:
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        def start(*args, **options):
            binary = self.kernel.warmup(*args, grid=grid, **options)
            assert binary.metadata.shared <= room, (binary.metadata, options)
            found.add(binary.hash)
        return start


driver.set_active(Driver())
backend._kernels = Compiled
backend.interpreted = lambda: False
backend.precision = lambda x: precision
triton_tiles.shared_bytes = lambda device: room
found = set()
for dtype, precision in (torch.bfloat16, 'ieee'), (torch.float32, 'tf32'):
    for c, size, k in ((128, 128, 31), (1024, 16, 13)):
        x = torch.empty((8, c, size, size), dtype=dtype, device='meta')
        weight = x.new_empty(c, 1, k, k)
        backend.forward(x, weight)
        backend.grad_weight(x, x, weight)
print(len(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize('capability', ROOMS)
def test_compiled_kernels_fit_smaller_cards(capability):
    """The shared memory that the compiler takes, not the estimate of it."""
    env = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run(
        [sys.executable, '-', str(capability), str(ROOMS[capability])],
        input=COMPILE,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    # two directions of four problems, and their helpers
    assert int(done.stdout) >= 12
