"""Time the operator and nn.Conv2d; benchmark_op.py prints the results."""

import logging
import random
import re
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
)

import torch
import torch.nn.functional as F
from torch import nn

from .backends import BACKENDS
from .backends.base import first_line
from .choice import available_backends
from .functional import depthwise_conv2d
from .module import DepthwiseConv2d
from .timing import time_in_turn

LOGGER = logging.getLogger(__name__)
# Milliseconds by method, then by 'forward' and 'both' (forward + backward);
# and the 'kernels' of both, if requested.
Times = Dict[str, Dict[str, Any]]
WAYS = 'forward', 'both'
# Suffix of a method's name, by layout.
ENDS = '', ' channels_last'
# Values that the grid draws from.
GRID_KERNELS = (3, 5, 7, 9, 11, 13, 17, 21, 27, 31, 41, 51)
GRID_MAPS = (14, 16, 28, 32, 56, 64, 96, 128, 200, 256)
GRID_CHANNELS = (64, 128, 256, 512, 1024)
GRID_BATCHES = (1, 1, 2, 4, 8)


class Clock:
    """Times functions on one device.

    Args:
        device: 'cpu' or 'cuda'.
        seconds: Time for each function.
        most: Largest number of runs.
    """

    def __init__(self, device: str, seconds: float, most: int) -> None:
        self.device, self.seconds, self.most = device, seconds, most

    def __call__(self, run: Callable[[], None]) -> float:
        """Median milliseconds of a function."""
        return self.together({'run': run})['run']

    def together(
        self,
        runs: Mapping[str, Callable[[], None]],
        **bounds: float,
    ) -> Dict[str, float]:
        """Medians of functions that run in turn; see time_in_turn()."""
        return time_in_turn(
            runs, self.device, self.seconds, 3, self.most, **bounds
        )


def layers(
    channels: int, kernel: Tuple[int, int], device: str, dtype: torch.dtype
) -> Dict[str, Tuple[nn.Module, bool]]:
    """The layers to compare: name to (layer, channels_last)."""
    kwargs = {
        'in_channels': channels,
        'out_channels': channels,
        'kernel_size': kernel,
        'padding': (kernel[0] // 2, kernel[1] // 2),
        'groups': channels,
        'bias': False,
        'device': device,
        'dtype': dtype,
    }
    conv, auto = nn.Conv2d(**kwargs), DepthwiseConv2d(**kwargs)
    found = {
        'conv': (conv, False),
        'conv channels_last': (conv, True),
        'auto': (auto, False),
        'auto channels_last': (auto, True),
    }
    for name in available_backends(device, dtype):
        found[name] = DepthwiseConv2d(**kwargs, backend=name), False
    extension = published_extension()
    if extension and dtype != torch.bfloat16 and device == 'cuda':
        layer = extension(channels, max(kernel)).to(device, dtype)
        found['extension'] = layer, False
    return found


def published_extension() -> Optional[Type[nn.Module]]:
    """The published implicit-GEMM layer, if it is installed."""
    try:
        from depthwise_conv2d_implicit_gemm import DepthWiseConv2dImplicitGEMM
    except (ImportError, OSError):
        return None
    return DepthWiseConv2dImplicitGEMM


def time_problem(
    shape: Tuple[int, int, int, int],
    kernel: Tuple[int, int],
    dtype: torch.dtype,
    clock: Clock,
    name_kernels: bool = False,
    **bounds: float,
) -> Times:
    """Time every method on random tensors.

    Args:
        shape: (N, C, H, W) of the input.
        kernel: (Kh, Kw).
        dtype: Type of the tensors.
        clock: Times them.
        name_kernels: Also give the 'kernels' of forward + backward, see
            :func:`kernels_of`. Defaults to False.
        **bounds: ``limit`` or ``hopeless`` of time_in_turn().

    Returns:
        dict[str, dict[str, float]]: Milliseconds of 'forward' and 'both' by
        method. On a GPU, a method that fails is skipped with a warning.
    """
    device = clock.device
    x = torch.randn(shape, device=device, dtype=dtype)
    grad = torch.randn(shape, device=device, dtype=dtype)
    forward_runs, both_runs = {}, {}
    for name, (layer, last) in layers(shape[1], kernel, device, dtype).items():
        layout = torch.channels_last if last else torch.contiguous_format
        input_ = x.detach().to(memory_format=layout).requires_grad_()
        g = grad.to(memory_format=layout)

        def run_forward(layer=layer, x=input_):
            with torch.no_grad():
                layer(x)

        def run_both(layer=layer, x=input_, g=g):
            torch.autograd.grad(layer(x), (x, layer.weight), g)

        if device == 'cuda':
            # one method that fails must not stop the others
            try:
                run_forward()
                run_both()
                torch.cuda.synchronize()
            except Exception as error:
                reason = first_line(error)
                LOGGER.warning(
                    '%s fails on %s, K=%s: %s', name, shape, kernel, reason
                )
                continue
        forward_runs[name], both_runs[name] = run_forward, run_both
    kernels = {}
    if name_kernels:
        kernels = {n: kernels_of(run, device) for n, run in both_runs.items()}
    forward = clock.together(forward_runs, **bounds)
    both = clock.together(both_runs, **bounds)
    times: Times = {}
    for name in forward:
        times[name] = {'forward': forward[name], 'both': both[name]}
        if name_kernels:
            times[name]['kernels'] = kernels[name]
    return times


def kernels_of(run: Callable[[], None], device: str) -> Dict[str, float]:
    """Kernels of a run that take the most time (on a CPU, ATen operators).

    Args:
        run: A function that has run before.
        device: 'cpu' or 'cuda'.

    Returns:
        dict[str, float]: Milliseconds of up to four, the longest first; empty
        if the profiler does not work here.
    """
    activity = getattr(torch.profiler.ProfilerActivity, device.upper())
    kind = 'cpu' if device == 'cpu' else 'device'
    try:
        with torch.profiler.profile(activities=[activity]) as profile:
            run()
            if device == 'cuda':
                torch.cuda.synchronize()
        times = {
            event.key: getattr(event, f'self_{kind}_time_total') / 1e3
            for event in profile.key_averages()
        }
    except (RuntimeError, AttributeError) as error:
        LOGGER.warning('no kernel can be named: %s', error)
        return {}
    longest = sorted(times, key=lambda name: -times[name])[:4]
    return {name[:120]: times[name] for name in longest if times[name]}


def library_of(kernels: Iterable[str]) -> str:
    """Name the convolution libraries of PyTorch that ran on a GPU.

    Args:
        kernels: Names of kernels, as :func:`kernels_of` returns them.

    Returns:
        str: 'ATen', 'cuDNN', 'ATen and cuDNN' if the passes differ, or ''
        if neither is among them.
    """
    names = ' '.join(kernels)
    marks = {
        'ATen': 'conv_depthwise2d',
        'cuDNN': 'cudnn|xmma|convolve|grouped_direct',
    }
    found = [name for name, mark in marks.items() if re.search(mark, names)]
    return ' and '.join(found)


def ceilings(dtype: torch.dtype, clock: Clock) -> Tuple[float, float]:
    """Measured FLOP/s of a matrix product and bytes/s of a copy."""
    size, room = (8192, 1 << 30) if clock.device == 'cuda' else (64, 1 << 16)
    a, b = (
        torch.randn(size, size, device=clock.device, dtype=dtype)
        for _ in range(2)
    )
    big = torch.ones(room, device=clock.device, dtype=torch.uint8)
    matrix = 2 * size**3 / (clock(lambda: a @ b) / 1e3)
    copy = 2 * room / (clock(lambda: big.clone()) / 1e3)
    return matrix, copy


def rates(
    ms: float,
    shape: Tuple[int, int, int, int],
    k: int,
    dtype: torch.dtype,
    peak: float,
    bandwidth: float,
) -> Dict[str, float]:
    """Useful TFLOP/s, and shares of the Toeplitz and memory bounds.

    Args:
        ms: Time of a forward or of one gradient.
        shape: (N, C, H, W) of the input.
        k: Width and height of the kernel.
        dtype: Type of the tensors.
        peak: FLOP/s of a matrix product.
        bandwidth: Bytes/s of a copy.
    """
    elements = shape[0] * shape[1] * shape[2] * shape[3]
    width = -(-(16 + k - 1) // 16) * 16
    toeplitz = 2 * elements * k * width / peak * 1e3
    memory = 2 * elements * dtype.itemsize / bandwidth * 1e3
    return {
        'useful TFLOP/s': 2 * elements * k * k / ms / 1e9,
        'of the Toeplitz bound': toeplitz / ms,
        'of the memory bound': memory / ms,
    }


def check_one(
    shape: Tuple[int, int, int, int],
    kernel: Tuple[int, int],
    dtype: torch.dtype,
    name: str,
    device: str,
) -> List[float]:
    """Relative errors of a backend against F.conv2d in double.

    Args:
        shape: (N, C, H, W) of the input.
        kernel: (Kh, Kw).
        dtype: Type of the tensors.
        name: Name of the backend.
        device: 'cpu' or 'cuda'.

    Returns:
        list[float]: Norms of the errors of the output, the input gradient
        and the weight gradient over those of the exact ones.
    """
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
    weight = torch.randn(
        shape[1], 1, *kernel, device=device, dtype=dtype, requires_grad=True
    )
    grad = torch.randn(shape, device=device, dtype=dtype)
    out = depthwise_conv2d(x, weight, backend=name)
    got = (out, *torch.autograd.grad(out, (x, weight), grad))
    exact = [t.detach().double().requires_grad_() for t in (x, weight)]
    padding = kernel[0] // 2, kernel[1] // 2
    want = F.conv2d(*exact, padding=padding, groups=shape[1])
    want = (want, *torch.autograd.grad(want, exact, grad.double()))
    return [
        ((a.double() - b).norm() / b.norm()).item()
        for a, b in zip(got, want, strict=True)
    ]


def cuda_peak(shape: Tuple[int, int, int, int], k: int, name: str) -> float:
    """Peak memory of one forward on the GPU, in sizes of its input."""
    x = torch.randn(shape, device='cuda')
    weight = torch.randn(shape[1], 1, k, k, device='cuda')
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.no_grad():
        depthwise_conv2d(x, weight, backend=name)
    peak = torch.cuda.max_memory_allocated() - before
    return peak / (x.numel() * 4)


def time_grid_shape(
    shape: Tuple[int, int, int, int], k: int, clock: Clock
) -> Times:
    """Times by method; if 'auto' seems to be wrong, the lower of two."""

    def run():
        return time_problem(shape, (k, k), torch.float32, clock, hopeless=4)

    times = run()
    if any(
        max(auto_ratios(times, way).values(), default=0) > 1.1 for way in WAYS
    ):
        # or the machine was busy for a moment
        again = run()
        times = {
            name: {way: min(t[way], again[name][way]) for way in WAYS}
            for name, t in times.items()
            if name in again
        }
    return times


def auto_ratios(times: Times, way: str) -> Dict[str, float]:
    """Time of 'auto' divided by that of the best backend and of nn.Conv2d.

    Empty if one of them failed.
    """
    t = {name: ms[way] for name, ms in times.items()}
    needed = {f'{name}{end}' for name in ('auto', 'conv') for end in ENDS}
    if not needed <= set(t) or not set(t) & set(BACKENDS):
        return {}
    answer = {'best': t['auto'] / min(t[n] for n in t if n in BACKENDS)}
    for end in ENDS:
        answer[f'nn.Conv2d{end}'] = t['auto' + end] / t['conv' + end]
    return answer


def draw_shape(
    rng: random.Random, elements: float, macs: float
) -> Tuple[int, int, int, int]:
    """N, C, size of the map and of the kernel, within both limits."""

    def fits(images_and_channels: int) -> bool:
        return (
            images_and_channels * size**2 <= elements
            and images_and_channels * (size * k) ** 2 <= macs
        )

    while True:
        # keep the map and the kernel, or large ones would be rare
        size, k = rng.choice(GRID_MAPS), rng.choice(GRID_KERNELS)
        while fits(min(GRID_CHANNELS)):
            n, c = rng.choice(GRID_BATCHES), rng.choice(GRID_CHANNELS)
            if fits(n * c):
                return n, c, size, k
