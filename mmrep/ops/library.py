"""The operator registered with torch.library: kernels, shapes, derivatives.

With T(x, w, g) = <conv(x, w), g>, the forward, the input gradient and the
weight gradient are the derivatives of T in g, x and w. So the derivatives of
each are again one of the three, to any order.

The operator receives the decisions about a call as a string, written by
encode() in choice.py. What is missing there, as in a graph or in a derivative
of a derivative, is decided when the operator runs.
"""

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

from .arguments import autocast_dtype
from .backends import OWNER
from .backends.base import Backend, Gradients
from .choice import Plan, choose, decode, encode, forget, is_capturing, resolve
from .problem import DEVICES, Problem, memory_format_of

LIBRARY = torch.library.Library('mmrep', 'FRAGMENT')
LIBRARY.define(
    'depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, bool relu, '
    "str backend, bool autotune=False, str plan='') "
    '-> (Tensor, Tensor, Tensor)'
)
LIBRARY.define(
    'depthwise_conv2d_backward(Tensor grad, Tensor x, Tensor weight, '
    'Tensor kept_input, Tensor kept_weight, bool need_input, '
    'bool need_weight, str backend, bool autotune, str plan) '
    '-> (Tensor, Tensor)'
)
# Everything is undecided, except that intermediate results are dropped.
UNDECIDED_DROP = encode(Plan(reuse='drop'))
FORWARD = torch.ops.mmrep.depthwise_conv2d.default
BACKWARD = torch.ops.mmrep.depthwise_conv2d_backward.default


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    relu: bool,
    backend: str,
    autotune: bool = False,
    plan: str = '',
) -> Tuple[Tensor, Tensor, Tensor]:
    decided = decode(plan)
    if not decided.forward:
        backend, autotune = resolve(backend, autotune)
        decided = _choose_late(decided, x, weight, backend, autotune)
    owner = OWNER[decided.forward]
    try:
        return owner.forward(
            x, weight, bias, relu, decided.forward, decided.reuse
        )
    except Exception as error:
        _give_up(error, [owner], backend, x)
    decided = _choose_late(decided, x, weight, backend, autotune)
    return OWNER[decided.forward].forward(
        x, weight, bias, relu, decided.forward, decided.reuse
    )


def _choose_late(
    decided: Plan,
    x: Tensor,
    weight: Tensor,
    backend: str,
    autotune: bool,
    *needed: bool,
) -> Plan:
    """The plan of a call for which only the reuse can be decided."""
    plan = choose(Problem.of(x, weight, *needed), backend, autotune)
    # what a forward keeps suits only the gradients of its own plan
    reuse = 'drop' if decided.reuse == 'keep' else decided.reuse
    return plan._replace(reuse=reuse)


def _give_up(
    error: Exception, used: Sequence[Backend], backend: str, x: Tensor
) -> None:
    """Stop using a backend that failed; raise if that does not help."""
    failed = [owner for owner in used if isinstance(error, owner.failures())]
    # a capture that failed is lost, even if something else could run
    lost = is_capturing(x.device.type)
    memory = isinstance(error, torch.OutOfMemoryError)
    if backend != 'auto' or not failed or lost or memory:
        raise error
    failed[0].give_up(error)
    forget()


def _forward_fake(x, weight, bias, relu, backend, autotune=False, plan=''):
    out = torch.empty_like(x, memory_format=memory_format_of(x))
    plan = decode(plan)
    if plan.reuse == 'keep':
        return out, *OWNER[plan.forward].empty_kept(x, weight)
    return out, x.new_empty(0), x.new_empty(0)


def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kept_input: Tensor,
    kept_weight: Tensor,
    need_input: bool,
    need_weight: bool,
    backend: str,
    autotune: bool,
    plan: str,
) -> Tuple[Tensor, Tensor]:
    decided = decode(plan)
    needed = need_input, need_weight
    tensors = grad, x, weight, kept_input, kept_weight
    if (need_input and decided.grad_input is None) or (
        need_weight and decided.grad_weight is None
    ):
        backend, autotune = resolve(backend, autotune)
        decided = _choose_late(decided, x, weight, backend, autotune, *needed)
    input_by = decided.grad_input if need_input else None
    weight_by = decided.grad_weight if need_weight else None
    try:
        grad_x, grad_w = _gradients(decided, input_by, weight_by, *tensors)
    except Exception as error:
        used = [OWNER[name] for name in (input_by, weight_by) if name]
        _give_up(error, used, backend, x)
        again = _choose_late(decided, x, weight, backend, autotune, *needed)
        grad_x, grad_w = _gradients(
            again, again.grad_input, again.grad_weight, *tensors
        )
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        # the backends differ for a transposed weight
        weight.new_empty(0) if grad_w is None else grad_w.contiguous(),
    )


def _gradients(
    plan: Plan,
    input_by: Optional[str],
    weight_by: Optional[str],
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    kept_input: Tensor,
    kept_weight: Tensor,
) -> Gradients:
    """The gradients for which algorithms are given, by one or two backends."""
    owners = {OWNER[name] for name in (input_by, weight_by) if name}
    if len(owners) > 1:
        tensors = grad, x, weight, kept_input, kept_weight
        return (
            _gradients(plan, input_by, None, *tensors)[0],
            _gradients(plan, None, weight_by, *tensors)[1],
        )
    (owner,) = owners
    if (
        plan.reuse != 'keep'
        or owner is not OWNER[plan.forward]
        or kept_input.numel() == 0
    ):
        kept_input = kept_weight = None
    return owner.backward(
        grad, x, weight, input_by, weight_by, kept_input, kept_weight
    )


def _backward_fake(
    grad,
    x,
    weight,
    kept_input,
    kept_weight,
    need_input,
    need_weight,
    backend,
    autotune,
    plan,
):
    return (
        torch.empty_like(x, memory_format=memory_format_of(x))
        if need_input
        else x.new_empty(0),
        weight.new_empty(weight.shape if need_weight else 0),
    )


def _save_forward(ctx, inputs, output):
    x, weight, _, ctx.relu, *ctx.decided = inputs
    out, *kept = output
    ctx.save_for_backward(x, weight, *kept, out if ctx.relu else None)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*kept)


def _forward_derivative(ctx, grad, *_):
    x, weight, kept_input, kept_weight, out = ctx.saved_tensors
    need_x, need_w, need_b = ctx.needs_input_grad[:3]
    grad_x = grad_w = grad_b = None
    if grad is not None and ctx.relu:
        grad = grad * (out > 0)
    if grad is not None and (need_x or need_w):
        grad_x, grad_w = BACKWARD(
            grad,
            x,
            weight,
            kept_input,
            kept_weight,
            need_x,
            need_w,
            *ctx.decided,
        )
    if grad is not None and need_b:
        grad_b = grad.sum((0, 2, 3))
    return (
        grad_x if need_x else None,
        grad_w if need_w else None,
        grad_b,
        None,
        None,
        None,
        None,
    )


def _save_backward(ctx, inputs, output):
    grad, x, weight, _, _, ctx.need_x, ctx.need_w, *request, _ = inputs
    ctx.backend, ctx.autotune = request
    ctx.save_for_backward(grad, x, weight)
    ctx.set_materialize_grads(False)


def _backward_derivative(ctx, u, v):
    """Derivatives of T(u, weight, grad) + T(x, v, grad)."""
    grad, x, weight = ctx.saved_tensors
    need_g, need_x, need_w = ctx.needs_input_grad[:3]
    empty = x.new_empty(0)
    undecided = ctx.backend, ctx.autotune, UNDECIDED_DROP

    def conv(x, weight):
        return FORWARD(x, weight, None, False, *undecided)[0]

    def gradients(x, weight, need_x, need_w):
        return BACKWARD(
            grad, x, weight, empty, empty, need_x, need_w, *undecided
        )

    d_g = d_x = d_w = None
    if u is not None and ctx.need_x:
        if need_g:
            d_g = conv(u, weight)
        if need_w:
            d_w = gradients(u, weight, False, True)[1]
    if v is not None and ctx.need_w:
        if need_g:
            d_g = conv(x, v) if d_g is None else d_g + conv(x, v)
        if need_x:
            d_x = gradients(x, v, True, False)[0]
    return d_g, d_x, d_w, None, None, None, None, None, None, None


def _autocast(device: str):
    name = {'cpu': 'AutocastCPU', 'cuda': 'AutocastCUDA'}[device]
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name))

    def cast(x, weight, bias, *options):
        dtype = autocast_dtype(x)
        if dtype is not None:
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return FORWARD(x, weight, bias, *options)

    return name, cast


for _name, _kernel, _fake, _derivative, _setup in (
    (
        'depthwise_conv2d',
        _forward,
        _forward_fake,
        _forward_derivative,
        _save_forward,
    ),
    (
        'depthwise_conv2d_backward',
        _backward,
        _backward_fake,
        _backward_derivative,
        _save_backward,
    ),
):
    for _device in DEVICES:
        LIBRARY.impl(_name, _kernel, _device.upper())
    torch.library.register_fake(f'mmrep::{_name}', _fake, lib=LIBRARY)
    torch.library.register_autograd(
        f'mmrep::{_name}', _derivative, setup_context=_setup, lib=LIBRARY
    )
for _device in DEVICES:
    _key, _cast = _autocast(_device)
    LIBRARY.impl('depthwise_conv2d', _cast, _key)
