"""The public function: decide, call."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from .arguments import check
from .choice import check_backend, decide, encode, resolve
from .library import FORWARD, UNDECIDED_DROP
from .problem import DEVICES

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
    groups=C)``, followed by ``F.relu`` if ``relu`` is set.

    Args:
        x: Shape (N, C, H, W), contiguous or channels_last.
        weight: Shape (C, 1, Kh, Kw) with odd Kh and Kw.
        bias: Shape (C,). Defaults to None.
        backend: 'auto', 'native', 'fft' or 'triton'. Defaults to 'auto'.
        relu: Apply ReLU to the output. Defaults to False.
        autotune: Let 'auto' measure the backends once for each new kind of
            call instead of estimating. It has no effect on a named backend.
            Defaults to False.

    Returns:
        Tensor: Shape (N, C, H, W) in the layout of ``x``.
    """
    check_backend(backend)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _into_graph(x, weight, bias, backend, relu, autotune)
    backend, autotune = resolve(backend, autotune)
    if _is_transformed():
        _refuse_others(backend, TRANSFORMS)
        check(x, weight, bias)
        return _plain(x, weight, bias, relu)
    plan = decide(x, weight, bias, backend, autotune)
    if plan.plain:
        return _plain(x, weight, bias, relu)
    return FORWARD(x, weight, bias, relu, backend, autotune, encode(plan))[0]


def _is_transformed() -> bool:
    """Whether vmap, jvp or the like are on; they know only ATen."""
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _refuse_others(backend: str, where: str) -> None:
    """Raise an error if a call left to PyTorch names another backend."""
    if backend not in ('auto', 'native'):
        raise NotImplementedError(
            f"backend {backend!r} cannot run {where}; 'auto' and 'native' can."
        )


def _plain(
    x: Tensor, weight: Tensor, bias: Optional[Tensor], relu: bool
) -> Tensor:
    """PyTorch's own convolution with the same arguments."""
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
    """One node: a plain convolution in an export, otherwise the operator.

    The operator chooses when it runs, because shapes are known then.
    """
    # torch 2.6 has no is_exporting()
    exporting = getattr(torch.compiler, 'is_exporting', bool)
    if torch.jit.is_tracing() or exporting():
        return _plain(x, weight, bias, relu)
    check(x, weight, bias)
    if _is_transformed():
        _refuse_others(backend, TRANSFORMS)
        return _plain(x, weight, bias, relu)
    if x.device.type not in DEVICES:
        _refuse_others(backend, f'on {x.device.type}')
        return _plain(x, weight, bias, relu)
    plan = ''
    if torch.is_grad_enabled() and weight.requires_grad:
        plan = UNDECIDED_DROP
    return FORWARD(x, weight, bias, relu, backend, autotune, plan)[0]
