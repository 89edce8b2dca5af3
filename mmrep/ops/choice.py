"""Choice of an algorithm for each call: requested, measured or estimated.

A call asks :func:`decide` and passes the answer to the operator. In a compiled
graph, whose shapes are not known, the operator asks :func:`choose` when it
runs.
"""

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import product
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .arguments import autocast_dtype, check
from .backends import BACKENDS, OWNER, Backend, native
from .measuring import measure
from .problem import DEVICES, DIRECTIONS, Problem, is_channels_last, uses_tf32

LOGGER = logging.getLogger(__name__)
# Kernels too small for a choice, which are always left to nn.Conv2d: those
# with up to this many taps; and those up to a width that every PyTorch
# computes fast, on maps so small that choosing would cost a tenth of the time.
ALWAYS_NATIVE_TAPS = 9
ALWAYS_NATIVE_WIDTH = 9
ALWAYS_NATIVE_PRODUCTS = 2.5e6
# Algorithms estimated to take up to this many times the best are measured.
WORTH_MEASURING = 4.0
# Additional milliseconds of a call through the registered operators: without
# gradients, and with them.
OVERHEAD = 0.04, 0.4
# Number of kinds of calls that are remembered.
REMEMBERED = 4096

# Default backend, and whether 'auto' measures by default.
AUTO = 'auto', False

_requested: ContextVar[Tuple[str, bool]] = ContextVar(
    'mmrep_ops_backend', default=AUTO
)
_plans: Dict[tuple, 'Plan'] = {}


class Plan(NamedTuple):
    """Decisions about a call.

    Attributes:
        forward: Algorithm of the forward; empty if that is decided when the
            operator runs.
        grad_input: Algorithm of the input gradient, None if it is not needed.
        grad_weight: Algorithm of the weight gradient, likewise.
        reuse: What a forward does with intermediate results: 'keep' them for
            the backward, 'cache' what depends only on the weight, or 'drop'
            them.
        plain: ``nn.Conv2d`` does all of it.
    """

    forward: str = ''
    grad_input: Optional[str] = None
    grad_weight: Optional[str] = None
    reuse: str = 'cache'
    plain: bool = False


@lru_cache(maxsize=REMEMBERED)
def encode(plan: Plan) -> str:
    """A plan as a string for the operator; empty if nothing is decided."""
    fields = zip(Plan._fields[:-1], plan, strict=False)
    return ' '.join(
        f'{name}={value}'
        for name, value in fields
        if value != Plan._field_defaults[name]
    )


@lru_cache(maxsize=REMEMBERED)
def decode(text: str) -> Plan:
    """The plan that :func:`encode` wrote."""
    fields: Dict[str, Any] = dict(field.split('=') for field in text.split())
    return Plan(**fields)


@contextmanager
def use_backend(backend: str, autotune: bool = False) -> Iterator[None]:
    """Decide what 'auto' means for the calls inside.

    Args:
        backend: 'native', 'fft', 'triton' or 'auto'.
        autotune: With 'auto', measure instead of estimating. Defaults to
            False.
    """
    check_backend(backend)
    token = _requested.set((backend, autotune and backend == 'auto'))
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


def resolve(backend: str, autotune: bool) -> Tuple[str, bool]:
    """The backend of a call, or that of the context if the call has none.

    Returns:
        tuple[str, bool]: The backend, and whether it is 'auto' and measures.
    """
    if backend != 'auto':
        return backend, False
    outer = _requested.get()
    if autotune and outer[0] == 'auto':
        return 'auto', True
    return outer


def why_not(backend: str, device: str, dtype: torch.dtype) -> Optional[str]:
    """Why a backend cannot run on a device, or None."""
    return BACKENDS[backend].why_not(device, dtype)


def available_backends(
    device: Optional[str] = None, dtype: torch.dtype = torch.float32
) -> Tuple[str, ...]:
    """Names of the backends that can run.

    Args:
        device: Type of the device. Defaults to 'cuda' if there is one,
            otherwise 'cpu'.
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
    """One line for a log: what can run here, and why the others cannot."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    reasons = {n: why_not(n, device, torch.float32) for n in BACKENDS}
    able = ', '.join(name for name, reason in reasons.items() if not reason)
    parts = [f'large-kernel backends on {device}: {able}']
    for name, reason in reasons.items():
        if reason:
            parts.append(f'{name} cannot run because {reason}')
    return '; '.join(parts)


def explain(x: Tensor, weight: Tensor) -> Dict[str, str]:
    """Whether each backend can run a call, and what 'auto' chooses.

    The call is one to :func:`depthwise_conv2d`, or to a
    :class:`DepthwiseConv2d` with this weight, under the current settings of
    gradients, autocast and :func:`use_backend`.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).

    Returns:
        dict[str, str]: For each backend, 'can run' or the reason why not; for
            'auto', the algorithm of each direction, with the time that the
            cost model estimates if there is one, or 'not needed'.
    """
    backend, autotune = resolve('auto', False)
    check(x, weight, None)
    problem = _problem_of(x, weight)
    answer = {
        name: why_not(name, problem.device, problem.dtype) or 'can run'
        for name in BACKENDS
    }
    try:
        plan = decide(x, weight, None, backend, autotune)
    except NotImplementedError as error:
        # use_backend() names one that cannot run
        answer['auto'] = str(error)
        return answer
    parts = []
    for direction in DIRECTIONS:
        algorithm = getattr(plan, direction)
        if algorithm is None:
            parts.append(f'{direction} not needed')
            continue
        ms = OWNER[algorithm].cost(problem, direction, algorithm)
        time = 'not measured' if ms is None else f'about {ms:.2g} ms'
        parts.append(f'{direction} by {algorithm} ({time})')
    answer['auto'] = ', '.join(parts)
    if plan.plain:
        answer['auto'] = f'nn.Conv2d: {answer["auto"]}'
    if plan.reuse == 'keep':
        answer['auto'] += '; the forward keeps what the gradients can use'
    return answer


def decide(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    backend: str,
    autotune: bool,
) -> Plan:
    """Check the arguments of a call and return its plan.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,).
        backend: Name of a backend or 'auto', as :func:`resolve` returns it.
        autotune: Measure instead of estimating; likewise.
    """
    autotune = autotune and may_measure(x.device.type)
    grad = torch.is_grad_enabled()
    # everything the checks and the choice look at, gathered in about two
    # microseconds, which matters for a small convolution
    key = (
        x.shape,
        x.dtype,
        x.device,
        weight.shape,
        weight.dtype,
        weight.device,
        bias if bias is None else (bias.shape, bias.dtype, bias.device),
        is_channels_last(x),
        grad and x.requires_grad,
        grad and weight.requires_grad,
        autocast_dtype(x),
        not x.is_cpu and uses_tf32(x.device.type, x.dtype),
        backend,
        autotune,
    )
    plan = _plans.get(key)
    if plan is None:
        check(x, weight, bias)
        plan = _choose(_problem_of(x, weight), backend, autotune)
        if len(_plans) >= REMEMBERED:
            _plans.clear()
        _plans[key] = plan
    return plan


def _problem_of(x: Tensor, weight: Tensor) -> Problem:
    """The problem of a call under the current settings."""
    grad = torch.is_grad_enabled()
    dtype = autocast_dtype(x) or x.dtype
    problem = Problem.of(
        x, weight, grad and x.requires_grad, grad and weight.requires_grad
    )
    return problem._replace(dtype=dtype, tf32=uses_tf32(x.device.type, dtype))


def choose(
    problem: Problem, backend: str = 'auto', autotune: bool = False
) -> Plan:
    """The plan of a problem; for arguments see :func:`decide`."""
    autotune = autotune and may_measure(problem.device)
    return _choose(problem, backend, autotune)


def forget() -> None:
    """Forget all choices."""
    _plans.clear()
    _choose.cache_clear()


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being recorded; then nothing can be measured."""
    return device == 'cuda' and torch.cuda.is_current_stream_capturing()


def may_measure(device: str) -> bool:
    """Whether algorithms can be timed on a type of device now."""
    return device in DEVICES and not is_capturing(device)


def is_always_native(elements: int, kernel: Tuple[int, int]) -> bool:
    """Whether a kernel on this many elements is too small for a choice.

    This does not apply to half precision on a CPU, where nn.Conv2d is slow.
    """
    kernel_h, kernel_w = kernel
    taps = kernel_h * kernel_w
    return taps <= ALWAYS_NATIVE_TAPS or (
        kernel_h <= ALWAYS_NATIVE_WIDTH
        and kernel_w <= ALWAYS_NATIVE_WIDTH
        and elements * taps <= ALWAYS_NATIVE_PRODUCTS
    )


@lru_cache(maxsize=REMEMBERED)
def _choose(problem: Problem, backend: str, autotune: bool) -> Plan:
    if backend == 'auto':
        dtype = native.compute_dtype(problem.device, problem.dtype)
        if (
            not autotune
            and dtype == problem.dtype
            and is_always_native(problem.elements, problem.kernel)
        ):
            return _own(problem)
        backends = [
            candidate
            for candidate in BACKENDS.values()
            if candidate.why_not(problem.device, problem.dtype) is None
        ]
    else:
        backends = [BACKENDS[backend]]
        reason = backends[0].why_not(problem.device, problem.dtype)
        if reason is not None:
            raise NotImplementedError(
                f'backend {backend!r} cannot run here: {reason}.'
            )
    # by algorithm; by None if none is needed
    times: List[Dict[Any, float]] = []
    for direction, needed in zip(DIRECTIONS, problem.needed, strict=True):
        if not needed:
            times.append({None: 0.0})
        elif autotune:
            times.append(_measured(problem, direction, backends))
        else:
            times.append(_estimated(problem, direction, backends))
    if all(times):
        plan = _fastest(problem, *times)
    elif autotune:
        # the only backend worth measuring failed and is no longer a candidate
        return _choose(problem, backend, autotune)
    else:
        plan = _unmeasured(problem, backends)
    LOGGER.debug('%s by %s: %s', problem, backend, plan)
    return plan


def _own(problem: Problem) -> Plan:
    """The plan that leaves everything to nn.Conv2d."""
    own = partial(native.own_algorithm, problem)
    return Plan(
        own('forward'),
        own('grad_input') if problem.grad_input else None,
        own('grad_weight') if problem.grad_weight else None,
        'drop' if problem.grad_weight else 'cache',
        plain=True,
    )


def _unmeasured(problem: Problem, backends: List[Backend]) -> Plan:
    """The plan if nothing is known about nn.Conv2d's time."""
    preferred = [b for b in backends if b.is_preferred_unmeasured(problem)]
    if not preferred and native.BACKEND in backends:
        return _own(problem)
    backend = (preferred or backends)[0]

    def first(direction: str) -> str:
        return backend.algorithms_for(problem.device, direction)[0]

    return _plan(
        problem,
        first('forward'),
        first('grad_input') if problem.grad_input else None,
        first('grad_weight') if problem.grad_weight else None,
    )


def _fastest(problem: Problem, *times: Dict[Any, float]) -> Plan:
    """The plan whose directions take the least time in all."""

    def milliseconds(plan: Plan) -> float:
        algorithms = plan.forward, plan.grad_input, plan.grad_weight
        ms = sum(by[name] for by, name in zip(times, algorithms, strict=True))
        ms -= _saved(problem, plan)
        if not plan.plain:
            ms += OVERHEAD[problem.grad_input or problem.grad_weight]
        return ms

    plans = (_plan(problem, *algorithms) for algorithms in product(*times))
    return min(plans, key=milliseconds)


def _plan(
    problem: Problem,
    forward: str,
    grad_input: Optional[str],
    grad_weight: Optional[str],
) -> Plan:
    """The plan of three algorithms."""
    algorithms = forward, grad_input, grad_weight
    reuse = 'cache'
    if grad_weight is not None:
        backend = OWNER[grad_weight]
        same = OWNER[forward] is backend
        reuse = 'keep' if same and backend.can_keep(problem) else 'drop'
    plain = all(
        map(partial(native.is_conv2d, problem), DIRECTIONS, algorithms)
    )
    return Plan(*algorithms, reuse, plain)


def _saved(problem: Problem, plan: Plan) -> float:
    """Milliseconds that the directions of one backend save each other."""
    if plan.grad_weight is None:
        return 0.0
    backend = OWNER[plan.grad_weight]
    kept = plan.reuse == 'keep'
    both = plan.grad_input is not None and OWNER[plan.grad_input] is backend
    return backend.saved(problem, kept, both) if kept or both else 0.0


def _costs(
    problem: Problem, direction: str, backends: List[Backend]
) -> Dict[str, Optional[float]]:
    """Milliseconds of each algorithm as its backend estimates them."""
    return {
        name: backend.cost(problem, direction, name)
        for backend in backends
        for name in backend.algorithms_for(problem.device, direction)
    }


def _estimated(
    problem: Problem, direction: str, backends: List[Backend]
) -> Dict[str, float]:
    """Milliseconds of each algorithm, raised by the gain it must bring.

    Empty if there are several algorithms but no estimate for nn.Conv2d to
    compare them with.
    """
    costs = _costs(problem, direction, backends)
    if len(costs) == 1:
        return dict.fromkeys(costs, 0.0)
    if costs.get(native.own_algorithm(problem, direction), 0.0) is None:
        return {}
    return {
        name: ms * (1 + OWNER[name].required_gain(problem, direction, name))
        for name, ms in costs.items()
        if ms is not None
    }


def _measured(
    problem: Problem, direction: str, backends: List[Backend]
) -> Dict[str, float]:
    """Milliseconds of each algorithm that seems worth measuring.

    Empty if none of them runs.
    """
    costs = _costs(problem, direction, backends)
    names = list(costs)
    if len(names) == 1:
        return {names[0]: 0.0}
    if costs.get(native.own_algorithm(problem, direction)) is not None:
        known = {name: ms for name, ms in costs.items() if ms is not None}
        most = WORTH_MEASURING * min(known.values())
        names = [name for name, ms in known.items() if ms <= most]
    return measure(problem, direction, names)
