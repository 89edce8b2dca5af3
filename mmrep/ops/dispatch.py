"""Choice of an algorithm for each call: asked for, or the cheapest."""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from . import cost
from .backends import fft
from .problem import Problem, is_channels_last

BACKENDS = ('native', 'fft')
KEPT_BYTES = 256 << 20

_requested = ContextVar('mmrep_ops_backend', default='auto')


class Plan(NamedTuple):
    """The algorithm of each direction.

    Attributes:
        forward: Algorithm of the forward.
        grad_input: Algorithm of the input gradient.
        grad_weight: Algorithm of the weight gradient.
        keep: The forward keeps its spectra for the backward.
        plain: ATen's own convolution and gradients are the choice.
    """

    forward: str
    grad_input: str
    grad_weight: str
    keep: bool = False
    plain: bool = False


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Use one backend wherever a call says 'auto'.

    Args:
        backend: 'native', 'fft' or 'auto'.
    """
    check_backend(backend)
    token = _requested.set(backend)
    try:
        yield
    finally:
        _requested.reset(token)


def check_backend(backend: str) -> None:
    """Raise unless ``backend`` is a known name."""
    if backend not in ('auto', *BACKENDS):
        raise ValueError(
            f'backend must be one of {("auto", *BACKENDS)}, got {backend!r}.'
        )


def resolve(backend: str) -> str:
    """The backend of the context where a call leaves it open."""
    return _requested.get() if backend == 'auto' else backend


def available_backends(
    device: str = 'cpu', dtype: torch.dtype = torch.float32
) -> Tuple[str, ...]:
    """Names of the backends that can run on a device."""
    return tuple(
        name for name in BACKENDS if why_not(name, device, dtype) is None
    )


def why_not(backend: str, device: str, dtype: torch.dtype) -> Optional[str]:
    """Why a backend cannot run, or None."""
    return fft.why_not(device, dtype) if backend == 'fft' else None


def explain(x: Tensor, weight: Tensor) -> Dict[str, str]:
    """What each backend says to a call, and what 'auto' takes.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).

    Returns:
        dict[str, str]: 'can run' or the reason why not for each backend;
        under 'auto' the algorithms of the forward and the gradients.
    """
    problem = problem_of(x, weight)
    answer = {
        name: why_not(name, problem.device, problem.dtype) or 'can run'
        for name in BACKENDS
    }
    plan = choose(problem, 'auto')
    answer['auto'] = (
        f'forward {plan.forward}, input gradient '
        f'{plan.grad_input}, weight gradient '
        f'{plan.grad_weight}'
    )
    return answer


def problem_of(x: Tensor, weight: Tensor) -> Problem:
    """The facts of a call that the choice depends on."""
    grad = torch.is_grad_enabled()
    return Problem(
        x.device.type,
        x.dtype,
        tuple(x.shape),
        tuple(weight.shape[2:]),
        is_channels_last(x),
        grad and x.requires_grad,
        grad and weight.requires_grad,
    )


@lru_cache(maxsize=4096)
def choose(problem: Problem, backend: str) -> Plan:
    """The plan with the least estimated time.

    Args:
        problem: Facts of the call.
        backend: Backend to use, or 'auto'.

    Returns:
        Plan: Algorithm of each direction.
    """
    if backend == 'auto' and problem.device != 'cpu':
        backend = 'native'
    if backend != 'auto':
        reason = why_not(backend, problem.device, problem.dtype)
        if reason is not None:
            raise NotImplementedError(
                f'backend {backend!r} cannot run here: {reason}.'
            )
    best = [
        min(
            _candidates(names, backend),
            key=lambda name: cost.estimate(problem, direction, name),
        )
        for direction, names in (
            ('forward', cost.FORWARD),
            ('grad_input', cost.GRAD_INPUT),
            ('grad_weight', cost.GRAD_WEIGHT),
        )
    ]
    layout = 'nhwc' if problem.channels_last else 'nchw'
    plain = (
        best[0] == f'direct_{layout}'
        and (not problem.grad_input or best[1] != 'fft')
        and (not problem.grad_weight or best[2] == f'transposed_{layout}')
    )
    keep = problem.grad_weight and best[0] == best[2] == 'fft'
    return Plan(*best, keep and _kept_bytes(problem) <= KEPT_BYTES, plain)


def _candidates(names: Tuple[str, ...], backend: str) -> List[str]:
    if backend == 'fft':
        return ['fft']
    if backend == 'native':
        return [name for name in names if name != 'fft']
    return list(names)


def _kept_bytes(problem: Problem) -> int:
    n, c, h, w = problem.shape
    tiling = fft.plan_tiling((h, w), problem.kernel, n)
    return 4 * c * tiling.points * (n * tiling.tiles + 1)
