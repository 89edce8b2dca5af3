"""The operator as torch.library knows it: kernels, shapes, derivatives.

With T(x, w, g) = <conv(x, w), g>, the forward, the input gradient and the
weight gradient are the derivatives of T in g, x and w. So each one's own
derivatives are again one of the three, to any order.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor

from .backends import fft, native
from .dispatch import choose, resolve
from .problem import Problem, is_channels_last, memory_format_of

LIBRARY = torch.library.Library('mmrep', 'FRAGMENT')
LIBRARY.define(
    'depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, '
    'str backend, bool keep) -> (Tensor, Tensor, Tensor)'
)
LIBRARY.define(
    'depthwise_conv2d_backward(Tensor grad, Tensor x, Tensor weight, '
    'Tensor x_spectrum, Tensor weight_spectrum, str backend, '
    'bool need_input, bool need_weight) -> (Tensor, Tensor)'
)


def _problem(
    x: Tensor, weight: Tensor, need_input: bool, need_weight: bool
) -> Problem:
    return Problem(
        x.device.type,
        x.dtype,
        tuple(x.shape),
        tuple(weight.shape[2:]),
        is_channels_last(x),
        need_input,
        need_weight,
    )


def _forward(
    x: Tensor, weight: Tensor, bias: Optional[Tensor], backend: str, keep: bool
) -> Tuple[Tensor, Tensor, Tensor]:
    if keep:
        return fft.forward(x, weight, bias, keep=True)
    plan = choose(_problem(x, weight, False, False), resolve(backend))
    if plan.forward == 'fft':
        return fft.forward(x, weight, bias)
    out = native.forward(x, weight, bias, plan.forward)
    return out, _no_spectrum(x), _no_spectrum(x)


def _forward_fake(x, weight, bias, backend, keep):
    out = torch.empty_like(x, memory_format=memory_format_of(x))
    if not keep:
        return out, _no_spectrum(x), _no_spectrum(x)
    return out, *fft.empty_spectra(x, fft.tiling_of(x, weight))


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
    plan = choose(
        _problem(x, weight, need_input, need_weight), resolve(backend)
    )
    if x_spectrum.numel() == 0:
        x_spectrum = weight_spectrum = None
    use_fft = (
        need_input and plan.grad_input == 'fft',
        need_weight and plan.grad_weight == 'fft',
    )
    grad_x = grad_w = None
    if any(use_fft):
        grad_x, grad_w = fft.backward(
            grad, x, weight, *use_fft, x_spectrum, weight_spectrum
        )
    if need_input and grad_x is None:
        grad_x, _ = native.backward(
            grad, x, weight, True, False, plan.grad_input
        )
    if need_weight and grad_w is None:
        _, grad_w = native.backward(
            grad, x, weight, False, True, plan.grad_weight
        )
    return (
        x.new_empty(0) if grad_x is None else grad_x,
        weight.new_empty(0) if grad_w is None else grad_w,
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
        torch.empty_like(weight) if need_weight else weight.new_empty(0),
    )


def _no_spectrum(x: Tensor) -> Tensor:
    return x.new_empty(0)


def _save_forward(ctx, inputs, output):
    x, weight, bias, ctx.backend, _ = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])


def _forward_derivative(ctx, grad, *_):
    x, weight, x_spectrum, weight_spectrum = ctx.saved_tensors
    if grad is None:
        return (None,) * 5
    need_x, need_w, need_b = ctx.needs_input_grad[:3]
    grad_x = grad_w = grad_b = None
    if need_x or need_w:
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
    if need_b and ctx.has_bias:
        grad_b = grad.sum((0, 2, 3))
    return (
        grad_x if need_x else None,
        grad_w if need_w else None,
        grad_b,
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
    empty = _no_spectrum(x)

    def conv(x, weight):
        return torch.ops.mmrep.depthwise_conv2d(
            x, weight, None, ctx.backend, False
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
    key = getattr(
        torch._C.DispatchKey,
        f'Autocast{device.upper()}' if device == 'cpu' else 'AutocastCUDA',
    )

    def cast(x, weight, bias, backend, keep):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        if bias is not None:
            bias = bias.to(dtype)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            return torch.ops.mmrep.depthwise_conv2d(
                x, weight, bias, backend, keep
            )

    return cast


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
LIBRARY.impl('depthwise_conv2d', _autocast('cpu'), 'AutocastCPU')
LIBRARY.impl('depthwise_conv2d', _autocast('cuda'), 'AutocastCUDA')
