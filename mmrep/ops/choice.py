"""Choice of an algorithm for each call: asked for, measured, or estimated."""

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from . import cost
from .backends import fft, native, triton
from .checks import check
from .measuring import measure
from .problem import Problem

LOGGER = logging.getLogger(__name__)
BACKENDS = {'native': native, 'fft': fft, 'triton': triton}
# Largest spectra that a forward keeps for its backward.
KEPT_BYTES = 256 << 20
# 'autotune' measures what the model puts within this factor of the best.
WORTH_MEASURING = 4.0
# What is estimated faster than PyTorch's own way must be so by this share:
# the estimates are off by as much, and its own way is never a loss.
MARGIN = 0.12
# In channels_last two need a larger share: the weight gradient, which is
# estimated within a factor of three only, and the other form of a forward with
# a kernel up to this width, which takes 0.71 of the time at best.
DOUBT = 0.8
SMALL_KERNEL = 9
# Milliseconds that a call by way of the registered operators costs more:
# without gradients, and with them.
OVERHEAD = 0.04, 0.4

_requested: ContextVar[str] = ContextVar('mmrep_ops_backend', default='auto')


class Plan(NamedTuple):
    """The algorithm of each direction.

    Attributes:
        forward: Algorithm of the forward.
        grad_input: Algorithm of the input gradient.
        grad_weight: Algorithm of the weight gradient.
        spectra: What an FFT forward does with its spectra: 'keep' them for
            the backward, 'cache' the kernel's, 'drop' them.
        plain: PyTorch's own convolution does all of it.
    """

    forward: str
    grad_input: str
    grad_weight: str
    spectra: str = 'drop'
    plain: bool = False


@contextmanager
def use_backend(backend: str, autotune: bool = False) -> Iterator[None]:
    """Decide what 'auto' means for the calls inside.

    Args:
        backend: 'native', 'fft', 'triton' or 'auto'.
        autotune: With 'auto', measure instead of estimating. Defaults to
            False.
    """
    check_backend(backend)
    token = _requested.set(with_autotune(backend, autotune))
    try:
        yield
    finally:
        _requested.reset(token)


def check_backend(backend: str) -> None:
    """Raise unless ``backend`` is a known name."""
    if backend != 'auto' and backend not in BACKENDS:
        raise ValueError(
            f'backend must be one of {("auto", *BACKENDS)}, got {backend!r}.'
        )


def with_autotune(backend: str, autotune: bool) -> str:
    """'autotune' for 'auto' that measures."""
    return 'autotune' if autotune and backend == 'auto' else backend


def resolve(backend: str, autotune: bool = False) -> str:
    """The backend of the context where a call leaves it open."""
    if backend not in ('auto', 'autotune'):
        return backend
    return with_autotune(_requested.get(), autotune or backend == 'autotune')


def why_not(backend: str, device: str, dtype: torch.dtype) -> Optional[str]:
    """Why a backend cannot run on a device, or None."""
    return BACKENDS[backend].why_not(device, dtype)


def available_backends(
    device: Optional[str] = None, dtype: torch.dtype = torch.float32
) -> Tuple[str, ...]:
    """Names of the backends that can run.

    Args:
        device: Type of the device. Defaults to 'cuda' where there is one,
            else 'cpu'.
        dtype: Type of the tensors. Defaults to torch.float32.

    Returns:
        tuple[str, ...]: Any of 'native', 'fft', 'triton'.
    """
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return tuple(
        name for name in BACKENDS if why_not(name, device, dtype) is None
    )


def backend_report() -> str:
    """One line for a log: what can run here, and why the rest cannot."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parts = []
    for name in BACKENDS:
        reason = why_not(name, device, torch.float32)
        parts.append(name if reason is None else f'{name} not: {reason}')
    return f'large-kernel backends on {device}: ' + ', '.join(parts)


def explain(x: Tensor, weight: Tensor) -> Dict[str, str]:
    """What each backend says to a call, and what 'auto' takes.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).

    Returns:
        dict[str, str]: For each backend 'can run' or the reason why not;
        for 'auto' the algorithm of each direction with the time that the
        cost model gives it.
    """
    check(x, weight, None)
    problem = Problem.of(x, weight, x.requires_grad, weight.requires_grad)
    answer = {}
    for name in BACKENDS:
        answer[name] = (
            why_not(name, problem.device, problem.dtype) or 'can run'
        )
    plan = choose(problem, 'auto')
    parts = []
    for direction in cost.DIRECTIONS:
        algorithm = getattr(plan, direction)
        if not _is_modelled(problem.device):
            parts.append(f'{direction} by {algorithm}')
            continue
        ms = cost.estimate(problem, direction, algorithm)
        parts.append(f'{direction} by {algorithm} (about {ms:.2g} ms)')
    answer['auto'] = ', '.join(parts)
    return answer


@lru_cache(maxsize=4096)
def choose(problem: Problem, backend: str) -> Plan:
    """The plan with the least time.

    Args:
        problem: Facts of the call.
        backend: Name of a backend, 'auto' or 'autotune'.

    Returns:
        Plan: Algorithm of each direction.
    """
    if backend in BACKENDS:
        reason = why_not(backend, problem.device, problem.dtype)
        if reason is not None:
            raise NotImplementedError(
                f'backend {backend!r} cannot run here: {reason}.'
            )
    if not _is_modelled(problem.device) and backend != 'fft':
        own = (_own(problem, direction) for direction in cost.DIRECTIONS)
        return Plan(*own, plain=True)
    forward = _times(problem, 'forward', backend)
    grad_input = _times(problem, 'grad_input', backend)
    grad_weight = _times(problem, 'grad_weight', backend)
    n, channels, h, w = problem.shape
    tiling = fft.plan_tiling((h, w), problem.kernel, n)
    size = fft.spectrum_bytes(channels, tiling, problem.dtype)
    # of the input's tiles and of the kernel
    fits = size * (n * tiling.tiles + 1) <= KEPT_BYTES
    cached = fft.is_cached(problem.device, size)
    if backend == 'auto' and not problem.grad_weight and cached:
        # the kernel's transform is in the cache after the first call
        forward['fft'] = (1 + MARGIN) * cost.estimate(
            problem, 'forward', 'fft', kept=True
        )
    best = None
    for f, f_ms in forward.items():
        for i, i_ms in grad_input.items():
            for w, w_ms in grad_weight.items():
                ms = f_ms
                keep = fits and f == w == 'fft' and problem.grad_weight
                if problem.grad_input:
                    ms += i_ms
                if problem.grad_weight:
                    ms += w_ms
                    if keep or (problem.grad_input and i == w == 'fft'):
                        ms -= _saved(
                            problem, keep, problem.grad_input and i == 'fft'
                        )
                plain = _is_plain(problem, (f, i, w))
                if not plain:
                    ms += OVERHEAD[problem.grad_input or problem.grad_weight]
                if best is None or ms < best[0]:
                    best = ms, (f, i, w), keep, plain
    _, names, keep, plain = best
    spectra = 'drop' if problem.grad_weight else 'cache'
    plan = Plan(*names, 'keep' if keep else spectra, plain)
    LOGGER.debug('%s by %s: %s', problem, backend, plan)
    return plan


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is recorded: nothing can be measured then."""
    return device == 'cuda' and torch.cuda.is_current_stream_capturing()


def _is_modelled(device: str) -> bool:
    """Whether the cost model speaks of a device: on a CPU, one with MKL."""
    return device == 'cuda' or (
        device == 'cpu' and torch.backends.mkl.is_available()
    )


def _own(problem: Problem, direction: str) -> str:
    """The algorithm by which PyTorch's own convolution does a direction."""
    form = 'direct' if direction == 'forward' else 'transposed'
    return f'{form}_{problem.layout}'


def _is_plain(problem: Problem, names: Tuple[str, str, str]) -> bool:
    """Whether PyTorch's own convolution does the same in every direction."""
    half = problem.dtype in (torch.float16, torch.bfloat16)
    if half and problem.device == 'cpu':
        return False
    used = True, problem.grad_input, problem.grad_weight
    return all(
        name == _own(problem, direction) or not needed
        for name, direction, needed in zip(
            names, cost.DIRECTIONS, used, strict=True
        )
    )


def _times(problem: Problem, direction: str, backend: str) -> Dict[str, float]:
    """Milliseconds of each algorithm that may be taken."""
    names = [
        name
        for name in cost.algorithms(problem.device, direction, backend)
        if not why_not(cost.backend_of(name), problem.device, problem.dtype)
    ]
    if len(names) == 1:
        return {names[0]: 0.0}
    times = {n: cost.estimate(problem, direction, n) for n in names}
    if backend != 'autotune' or is_capturing(problem.device):
        own = _own(problem, direction)
        return {
            n: ms if n == own else ms * (1 + _margin(problem, direction, n))
            for n, ms in times.items()
        }
    least = min(times.values())
    measured = measure(
        problem,
        direction,
        [n for n, ms in times.items() if ms <= WORTH_MEASURING * least],
    )
    # Triton alone was worth it, and failed: now it is no candidate
    return measured or _times(problem, direction, backend)


def _margin(problem: Problem, direction: str, algorithm: str) -> float:
    """Share by which an algorithm must be estimated to be faster."""
    doubtful = algorithm == 'transposed_nhwc' and (
        direction == 'grad_weight'
        or (direction == 'forward' and problem.kernel[1] <= SMALL_KERNEL)
    )
    return DOUBT if doubtful else MARGIN


def _saved(problem: Problem, keep: bool, both: bool) -> float:
    """Milliseconds that spectra shared between directions save."""
    saved = cost.estimate(problem, 'grad_weight', 'fft') - cost.estimate(
        problem, 'grad_weight', 'fft', kept=keep, shared=both
    )
    if keep and both:
        # the kernel's spectrum serves the input gradient too
        saved += cost.estimate(problem, 'grad_input', 'fft') - cost.estimate(
            problem, 'grad_input', 'fft', kept=True
        )
    return saved
