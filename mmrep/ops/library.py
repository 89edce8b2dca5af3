"""The operator as torch.library knows it: kernels, shapes, derivatives.

With T(x, w, g) = <conv(x, w), g>, the forward, the input gradient and the
weight gradient are the derivatives of T in g, x and w. So each one's own
derivatives are again one of the three, to any order.
"""

from typing import Callable, Optional, Tuple

import torch
from torch import Tensor

from . import measuring
from .backends import fft, triton
from .choice import Plan, choose, is_capturing, resolve
from .problem import Problem, memory_format_of

LIBRARY = torch.library.Library('mmrep', 'FRAGMENT')
LIBRARY.define(
    'depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, bool relu, '
    'str backend, str spectra) -> (Tensor, Tensor, Tensor)'
)
LIBRARY.define(
    'depthwise_conv2d_backward(Tensor grad, Tensor x, Tensor weight, '
    'Tensor x_spectrum, Tensor weight_spectrum, str backend, '
    'bool need_input, bool need_weight) -> (Tensor, Tensor)'
)


def _run(
    run: Callable[[Plan], Tuple],
    problem: Problem,
    backend: str,
    *directions: str,
) -> Tuple:
    """Run a plan; if Triton fails in a plan of 'auto', make another."""
    plan = choose(problem, backend)
    taken = [getattr(plan, direction) for direction in directions]
    if backend == 'triton' or 'triton' not in taken:
        return run(plan)
    try:
        return run(plan)
    except triton.failures() as error:
        # a capture that failed is lost, whatever else would run
        lost = is_capturing(problem.device)
        if lost or isinstance(error, torch.OutOfMemoryError):
            raise
        triton.give_up(error)
    choose.cache_clear()
    return run(choose(problem, backend))


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    relu: bool,
    backend: str,
    spectra: str,
) -> Tuple[Tensor, Tensor, Tensor]:
    if spectra == 'keep':
        return measuring.forward(x, weight, bias, relu, 'fft', spectra)

    def run(plan):
        return measuring.forward(x, weight, bias, relu, plan.forward, spectra)

    return _run(run, Problem.of(x, weight), resolve(backend), 'forward')


def _forward_fake(x, weight, bias, relu, backend, spectra):
    out = torch.empty_like(x, memory_format=memory_format_of(x))
    if spectra == 'keep':
        return out, *fft.empty_spectra(x, fft.tiling_of(x, weight))
    return out, x.new_empty(0), x.new_empty(0)


def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    x_spectrum: Tensor,
    weight_spectrum: Tensor,
    backend: str,
    need_input: bool,
    need_weight: bool,
) -> Tuple[Tensor, Tensor]:
    problem = Problem.of(x, weight, need_input, need_weight)
    kept = x_spectrum.numel() > 0

    def run(plan):
        return measuring.backward(
            grad,
            x,
            weight,
            plan.grad_input if need_input else None,
            plan.grad_weight if need_weight else None,
            x_spectrum if kept else None,
            weight_spectrum if kept else None,
        )

    grad_x, grad_w = _run(
        run, problem, resolve(backend), 'grad_input', 'grad_weight'
    )
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        # the backends differ on a transposed weight
        weight.new_empty(0) if grad_w is None else grad_w.contiguous(),
    )


def _backward_fake(
    grad,
    x,
    weight,
    x_spectrum,
    weight_spectrum,
    backend,
    need_input,
    need_weight,
):
    return (
        torch.empty_like(x, memory_format=memory_format_of(x))
        if need_input
        else x.new_empty(0),
        weight.new_empty(weight.shape if need_weight else 0),
    )


def _save_forward(ctx, inputs, output):
    x, weight, _, ctx.relu, ctx.backend, _ = inputs
    out, *spectra = output
    ctx.save_for_backward(x, weight, *spectra, out if ctx.relu else None)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*spectra)


def _forward_derivative(ctx, grad, *_):
    x, weight, x_spectrum, weight_spectrum, out = ctx.saved_tensors
    need_x, need_w, need_b = ctx.needs_input_grad[:3]
    grad_x = grad_w = grad_b = None
    if grad is not None and ctx.relu:
        grad = grad * (out > 0)
    if grad is not None and (need_x or need_w):
        grad_x, grad_w = torch.ops.mmrep.depthwise_conv2d_backward(
            grad,
            x,
            weight,
            x_spectrum,
            weight_spectrum,
            ctx.backend,
            need_x,
            need_w,
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
    )


def _save_backward(ctx, inputs, output):
    grad, x, weight, _, _, ctx.backend, ctx.need_x, ctx.need_w = inputs
    ctx.save_for_backward(grad, x, weight)
    ctx.set_materialize_grads(False)


def _backward_derivative(ctx, u, v):
    """Derivatives of T(u, weight, grad) + T(x, v, grad)."""
    grad, x, weight = ctx.saved_tensors
    need_g, need_x, need_w = ctx.needs_input_grad[:3]
    empty = x.new_empty(0)

    def conv(x, weight):
        return torch.ops.mmrep.depthwise_conv2d(
            x, weight, None, False, ctx.backend, 'drop'
        )[0]

    def gradients(x, weight, need_x, need_w):
        return torch.ops.mmrep.depthwise_conv2d_backward(
            grad, x, weight, empty, empty, ctx.backend, need_x, need_w
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
    return d_g, d_x, d_w, None, None, None, None, None


def _autocast(device: str):
    name = {'cpu': 'AutocastCPU', 'cuda': 'AutocastCUDA'}[device]
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name))

    def cast(x, weight, bias, *options):
        # as for F.conv2d, double stays double
        if x.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return torch.ops.mmrep.depthwise_conv2d(x, weight, bias, *options)

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
    LIBRARY.impl(_name, _kernel, 'CPU')
    LIBRARY.impl(_name, _kernel, 'CUDA')
    torch.library.register_fake(f'mmrep::{_name}', _fake, lib=LIBRARY)
    torch.library.register_autograd(
        f'mmrep::{_name}', _derivative, setup_context=_setup, lib=LIBRARY
    )
for _device in ('cpu', 'cuda'):
    _key, _cast = _autocast(_device)
    LIBRARY.impl('depthwise_conv2d', _cast, _key)
