"""The public function: check, choose, call."""

from functools import lru_cache
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from . import library  # noqa: F401, registers the operators
from .checks import Facts, check, check_facts, is_autocast
from .choice import Plan, check_backend, choose, resolve, with_autotune
from .problem import Problem, is_channels_last, uses_tf32

# Where only PyTorch's own convolution can run.
TRANSFORMS = 'under torch.func transforms and forward-mode differentiation'


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    backend: str = 'auto',
    relu: bool = False,
    autotune: bool = False,
) -> Tensor:
    """Depth-wise convolution with stride 1 and 'same' zero padding.

    Equal to ``F.conv2d(x, weight, bias, padding=(Kh // 2, Kw // 2),
    groups=C)``, with ``relu`` to the ``F.relu`` of it.

    Args:
        x: Shape (N, C, H, W), contiguous or channels_last.
        weight: Shape (C, 1, Kh, Kw) with odd Kh and Kw.
        bias: Shape (C,). Defaults to None.
        backend: 'auto', 'native', 'fft' or 'triton'. Defaults to 'auto'.
        relu: Apply ReLU to the output. Defaults to False.
        autotune: Let 'auto' measure the backends once for each new kind of
            call instead of estimating; no effect on a named backend.
            Defaults to False.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    check_backend(backend)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _into_graph(x, weight, bias, backend, relu, autotune)
    backend = resolve(backend, autotune)
    if _is_transformed():
        _refuse_others(backend, TRANSFORMS)
        check(x, weight, bias)
        return _plain(x, weight, bias, relu)
    grad = torch.is_grad_enabled()
    device = 'cpu' if x.is_cpu else x.device.type
    autocast = None
    if is_autocast(device) and x.dtype != torch.float64:
        autocast = torch.get_autocast_dtype(device)
    # everything that the checks and the choice look at, gathered in about
    # two microseconds: next to a small convolution that counts
    plan = _plan(
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
        autocast,
        device != 'cpu' and uses_tf32(device, autocast or x.dtype),
        backend,
    )
    if plan.plain:
        return _plain(x, weight, bias, relu)
    return torch.ops.mmrep.depthwise_conv2d(
        x, weight, bias, relu, backend, plan.spectra
    )[0]


def _is_transformed() -> bool:
    """Whether vmap, jvp and the like are on: they know ATen's operators."""
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _refuse_others(backend: str, where: str) -> None:
    """Raise if a call that is left to PyTorch names another backend."""
    if backend not in ('auto', 'autotune', 'native'):
        raise NotImplementedError(
            f"backend {backend!r} cannot run {where}; 'auto' and 'native' can."
        )


def _plain(
    x: Tensor, weight: Tensor, bias: Optional[Tensor], relu: bool
) -> Tensor:
    """PyTorch's own convolution of the same arguments."""
    groups, _, kernel_h, kernel_w = weight.shape
    out = F.conv2d(
        x,
        weight,
        bias,
        padding=(kernel_h // 2, kernel_w // 2),
        groups=groups,
    )
    return F.relu(out) if relu else out


def _into_graph(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    backend: str,
    relu: bool,
    autotune: bool,
) -> Tensor:
    """One node: a plain convolution in what is exported, else the operator.

    The operator chooses when it runs, from shapes that are known then.
    """
    # torch 2.6 has no is_exporting()
    exporting = getattr(torch.compiler, 'is_exporting', bool)
    if torch.jit.is_tracing() or exporting():
        return _plain(x, weight, bias, relu)
    check(x, weight, bias)
    if _is_transformed():
        _refuse_others(backend, TRANSFORMS)
        return _plain(x, weight, bias, relu)
    if x.device.type not in ('cpu', 'cuda'):
        # the operator has no kernels there
        _refuse_others(backend, f'on {x.device.type}')
        return _plain(x, weight, bias, relu)
    backend = with_autotune(backend, autotune)
    trains = torch.is_grad_enabled() and weight.requires_grad
    return torch.ops.mmrep.depthwise_conv2d(
        x, weight, bias, relu, backend, 'drop' if trains else 'cache'
    )[0]


@lru_cache(maxsize=4096)
def _plan(
    shape: Tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    weight_shape: Tuple[int, ...],
    weight_dtype: torch.dtype,
    weight_device: torch.device,
    bias: Optional[Facts],
    channels_last: bool,
    grad_input: bool,
    grad_weight: bool,
    autocast: Optional[torch.dtype],
    tf32: bool,
    backend: str,
) -> Plan:
    """Check the facts of a call once, and choose."""
    check_facts(
        (shape, dtype, device),
        (weight_shape, weight_dtype, weight_device),
        bias,
        autocast is not None,
    )
    problem = Problem(
        device.type,
        autocast or dtype,
        tuple(shape),
        tuple(weight_shape[2:]),
        channels_last,
        grad_input,
        grad_weight,
        tf32,
    )
    return choose(problem, backend)
