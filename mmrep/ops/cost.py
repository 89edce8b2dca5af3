"""Time estimates of each algorithm: linear models of a few counts.

The counts follow from the shapes; the coefficients in
backends/coefficients.py are fitted to measurements by
tools/fit_op_dispatch.py.
"""

import math
from functools import lru_cache
from typing import Optional, Tuple

import torch

from .backends import fft
from .backends.coefficients import COEFFICIENTS
from .problem import Problem

DIRECTIONS = ('forward', 'grad_input', 'grad_weight')
NATIVE = (
    'direct_nchw',
    'direct_nhwc',
    'transposed_nchw',
    'transposed_nhwc',
)
# Kernel widths up to which a native algorithm keeps one speed.
REGIMES = (3, 9, 13)
# Millions of elements above which a conversion reaches into the memory.
CACHED = 2.0
# Bytes from which malloc takes a tensor from the system anew at every call
# (glibc's largest threshold), whose pages then cost more than the sums.
REUSED = 32 << 20


def algorithms(
    device: str, direction: str, backend: str = 'auto'
) -> Tuple[str, ...]:
    """Names of what can compute a direction on a device by a backend."""
    if backend in ('fft', 'triton'):
        return (backend,)
    if device == 'cuda':
        form = 'direct' if direction == 'forward' else 'transposed'
        names = f'{form}_nchw', f'{form}_nhwc'
    elif direction == 'grad_weight':
        names = NATIVE[2:]
    else:
        names = NATIVE
    if backend == 'native':
        return names
    return (*names, 'fft', *(('triton',) if device == 'cuda' else ()))


def backend_of(algorithm: str) -> str:
    """The backend that an algorithm belongs to."""
    return algorithm if algorithm in ('fft', 'triton') else 'native'


def features(
    problem: Problem,
    direction: str,
    algorithm: str,
    kept: bool = False,
    shared: bool = False,
) -> Tuple[str, Tuple[float, ...]]:
    """Name of the linear model and its counts.

    Args:
        problem: The call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        algorithm: One of :func:`algorithms`.
        kept: The FFT finds spectra that the forward kept, or the kernel's
            in the cache. Defaults to False.
        shared: The FFT finds the transform of the output's gradient.
            Defaults to False.

    Returns:
        tuple[str, tuple[float, ...]]: Key of the coefficients and counts,
        those of elements and points in millions.
    """
    n, c, h, w = problem.shape
    elements = n * c * h * w / 1e6
    anew = elements * (elements * 1e6 * problem.dtype.itemsize >= REUSED)
    if algorithm == 'fft':
        tiling = fft.plan_tiling((h, w), problem.kernel, n)
        tiles = n * tiling.tiles
        transforms = 2 * tiles + (not kept)
        products = tiles
        if direction == 'grad_weight':
            transforms = tiles * (2 - kept) + 1
            products = 3 * tiles
        if shared:
            transforms -= tiles
        points = c * tiling.points / 1e6
        limit = fft.BLOCK_ELEMENTS[problem.device] / 1e6
        calls = max(1.0, points * tiles / limit)
        converted = 2 * elements * problem.channels_last
        work = c * tiling.work / 1e6 * transforms
        return 'fft', (
            1.0,
            calls,
            work,
            work * math.log2(tiling.points) / 10,
            c * transforms / 1e3,
            points * products,
            points * tiles * (tiling.tiles > 1),
            converted,
            anew,
        )
    kh, kw = problem.kernel
    taps = mean_taps(h, kh) * mean_taps(w, kw)
    if algorithm == 'triton':
        kind = 'grad_weight' if direction == 'grad_weight' else 'forward'
        width = -(-(16 + kw - 1) // 16) * 16
        return f'{kind}/triton', (1.0, elements, elements * kh * width)
    form, _, layout = algorithm.partition('_')
    # the input gradient by either form is a forward with a flipped kernel
    kind = 'grad_weight' if direction == 'grad_weight' else 'forward'
    if problem.device == 'cuda':
        kind = direction
    regime = sum(kw > limit for limit in REGIMES)
    if problem.dtype == torch.float64:
        # oneDNN does not take part, and with it go its regimes
        regime = 0
    converted = 2 * elements * (layout != problem.layout)
    return f'{kind}/{form}_{layout}/{regime}', (
        1.0,
        elements,
        elements * taps,
        elements * kh * kw,
        elements * taps / max(w, 1),
        c * kh * kw / 1e6,
        converted,
        converted * (elements > CACHED),
        anew,
    )


@lru_cache(maxsize=None)
def machine(device: str, instructions: Optional[str] = None) -> str:
    """The table's name of a device: of a CPU, with its instruction set.

    oneDNN takes other algorithms with AVX-512 than without.

    Args:
        device: 'cpu' or 'cuda'.
        instructions: As PyTorch names them. Defaults to those that it uses.
    """
    if device != 'cpu':
        return device
    found = instructions or torch.backends.cpu.get_cpu_capability()
    return 'cpu AVX512' if found == 'AVX512' else 'cpu AVX2'


@lru_cache(maxsize=4096)
def mean_taps(size: int, kernel: int) -> float:
    """Mean number of taps of one axis that fall on the map."""
    r = kernel // 2
    inside = sum(min(i, r) + min(size - 1 - i, r) + 1 for i in range(size))
    return inside / max(size, 1)


def arithmetic(problem: Problem) -> str:
    """The table's name of a type; 'ieee' is float32 on CUDA without TF32."""
    dtype = str(problem.dtype).rpartition('.')[2]
    if problem.device == 'cuda' and dtype == 'float32' and not problem.tf32:
        return 'ieee'
    return dtype


def estimate(problem: Problem, direction: str, algorithm: str, **state):
    """Milliseconds that an algorithm should take; see features()."""
    key, counts = features(problem, direction, algorithm, **state)
    dtype = arithmetic(problem)
    table = COEFFICIENTS[machine(problem.device)]
    weights = table.get(f'{dtype}/{key}') or table.get(f'float32/{key}')
    if weights is None:
        return float('inf')
    return sum(a * b for a, b in zip(weights, counts, strict=True))
