"""The layer, and a function that swaps it into a model."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _is_any_autocast_enabled

from .choice import AUTO, check_backend, is_always_native, resolve
from .functional import depthwise_conv2d
from .problem import DTYPES


class DepthwiseConv2d(nn.Conv2d):
    """An ``nn.Conv2d`` whose depth-wise form is fast with large kernels.

    What the operator does not support (strides, dilation, other groups,
    padding that is not 'same') is left to ``nn.Conv2d``. Arguments, parameters
    and state dict are those of ``nn.Conv2d``. The input has shape (N, C, H,
    W), the output (N, C', H', W') in the same layout; N is optional.

    Args:
        *args: Arguments of ``nn.Conv2d``.
        backend: 'auto', 'native', 'fft' or 'triton'. Defaults to 'auto'.
        autotune: Let 'auto' measure once for each new kind of call. It has no
            effect on a named backend. Defaults to False.
        **kwargs: Arguments of ``nn.Conv2d``.

    Raises:
        NotImplementedError: If a backend is named for a layer that only
            ``nn.Conv2d`` can compute.
    """

    backend = 'auto'
    autotune = False

    def __init__(
        self, *args, backend: str = 'auto', autotune: bool = False, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        check_backend(backend)
        self.backend = backend
        self.autotune = autotune
        if not is_eligible(self):
            self._leave_to_conv2d()

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C', H', W')."""
        # this is what the choice would answer, without the time it takes; a
        # graph has a node, which sees the map and the context when it runs
        if (
            not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and x.dtype is torch.float32
            and is_always_native(x.numel(), self.kernel_size)
            and not _is_any_autocast_enabled()
            and resolve(self.backend, self.autotune) == AUTO
        ):
            return super().forward(x)
        return self.convolve(x, self.weight, self.bias)

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Optional[Tensor]
    ) -> Tensor:
        """The layer's convolution with values other than its parameters.

        This keeps the layer's backend and ``autotune`` when a network merges
        kernels during the forward.

        Args:
            x: Shape (N, C, H, W); N is optional.
            weight: With the shape of the layer's weight.
            bias: With the shape of the layer's bias.

        Returns:
            Tensor: Shape (N, C', H', W').
        """
        if is_eligible(self):
            return _convolve(x, weight, bias, self.backend, self.autotune)
        self._leave_to_conv2d()
        return self._conv_forward(x, weight, bias)

    def _leave_to_conv2d(self) -> None:
        """Raise an error if the layer names a backend other than PyTorch's."""
        if self.backend not in ('auto', 'native'):
            raise NotImplementedError(
                f'backend {self.backend!r} needs a depth-wise convolution '
                f"with odd kernel, stride 1 and 'same' zero padding, got "
                f'Conv2d({super().extra_repr()}).'
            )

    def extra_repr(self) -> str:
        """Arguments of ``nn.Conv2d``, and the backend if one is named."""
        text = super().extra_repr()
        if self.backend != 'auto':
            text += f', backend={self.backend}'
        return text


@torch.fx.wrap
def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    backend: str,
    autotune: bool,
) -> Tensor:
    """The operator for everything a layer accepts; torch.fx sees one node."""
    if x.dim() == 3:
        x = x.unsqueeze(0)
        return _convolve(x, weight, bias, backend, autotune).squeeze(0)
    if x.dtype not in DTYPES and backend == 'auto':
        # complex numbers and the like
        return F.conv2d(x, weight, bias, padding='same', groups=x.size(1))
    return depthwise_conv2d(x, weight, bias, backend, autotune=autotune)


def is_eligible(conv: nn.Conv2d) -> bool:
    """Whether the operator computes what a convolution layer computes."""
    kernel_h, kernel_w = conv.kernel_size
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and kernel_h % 2 == kernel_w % 2 == 1
        and conv.stride == (1, 1)
        and conv.dilation == (1, 1)
        and conv.padding in ('same', (kernel_h // 2, kernel_w // 2))
        and conv.padding_mode == 'zeros'
    )


def convert_depthwise(
    model: nn.Module,
    min_kernel: int = 7,
    backend: str = 'auto',
    autotune: bool = False,
) -> int:
    """Let the eligible ``nn.Conv2d`` layers of a model use the operator.

    Layers change class in place: parameters, hooks and references to them stay
    the same. Subclasses of ``nn.Conv2d`` are not changed, among them the
    layers of mmrep's backbones, which use the operator already.

    Args:
        model: Any model; it may itself be such a layer.
        min_kernel: Smallest longer side of the kernel. Defaults to 7.
        backend: 'auto', 'native', 'fft' or 'triton'. Defaults to 'auto'.
        autotune: Let 'auto' measure once for each new kind of call. It has no
            effect on a named backend. Defaults to False.

    Returns:
        int: Number of layers changed.
    """
    check_backend(backend)
    count = 0
    for layer in model.modules():
        if (
            type(layer) is nn.Conv2d
            and is_eligible(layer)
            and max(layer.kernel_size) >= min_kernel
        ):
            # keeps parameters, hooks and references to the layer
            layer.__class__ = DepthwiseConv2d
            layer.backend = backend
            layer.autotune = autotune
            count += 1
    return count
