"""Run one algorithm of one direction, and time several."""

from functools import partial
from typing import Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .backends import fft, native, triton
from .problem import Problem
from .timing import time_in_turn

# An algorithm that takes this many times the fastest is timed only once.
HOPELESS = 8.0


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    relu: bool,
    algorithm: str,
    spectra: str = 'drop',
) -> Tuple[Tensor, Tensor, Tensor]:
    """Output (N, C, H, W) and, if kept, the spectra for the backward.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        bias: Shape (C,).
        relu: Apply ReLU to the output.
        algorithm: 'fft', 'triton' or one of the native ones.
        spectra: See :class:`mmrep.ops.choice.Plan`. Defaults to 'drop'.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Output and the spectra of
        :func:`mmrep.ops.backends.fft.forward`, without 'keep' empty.
    """
    if algorithm == 'fft':
        return fft.forward(x, weight, bias, relu, spectra)
    if algorithm == 'triton':
        out = triton.forward(x, weight, bias, relu)
    else:
        out = native.forward(x, weight, bias, algorithm)
        if relu:
            out.relu_()
    return out, x.new_empty(0), x.new_empty(0)


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    grad_input: Optional[str],
    grad_weight: Optional[str],
    x_spectrum: Optional[Tensor] = None,
    weight_spectrum: Optional[Tensor] = None,
) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Gradients (N, C, H, W) and (C, 1, Kh, Kw), each by an algorithm.

    Args:
        grad: Gradient of the output, shape (N, C, H, W).
        x: Shape (N, C, H, W).
        weight: Shape (C, 1, Kh, Kw).
        grad_input: Algorithm of the input gradient, None for none.
        grad_weight: Algorithm of the weight gradient, None for none.
        x_spectrum: Kept by the forward. Defaults to None.
        weight_spectrum: Kept by the forward. Defaults to None.

    Returns:
        tuple[Tensor | None, Tensor | None]: Both gradients.
    """
    grad_x = grad_w = None
    by_fft = grad_input == 'fft', grad_weight == 'fft'
    if any(by_fft):
        grad_x, grad_w = fft.backward(
            grad, x, weight, *by_fft, x_spectrum, weight_spectrum
        )
    if grad_input == 'triton':
        grad_x = triton.grad_input(grad, x, weight)
    elif grad_input not in (None, 'fft'):
        grad_x = native.grad_input(grad, x, weight, grad_input)
    if grad_weight == 'triton':
        grad_w = triton.grad_weight(grad, x, weight)
    elif grad_weight not in (None, 'fft'):
        grad_w = native.grad_weight(grad, x, weight, grad_weight)
    return grad_x, grad_w


def measure(
    problem: Problem,
    direction: str,
    names: Sequence[str],
    seconds: float = 0.2,
) -> Dict[str, float]:
    """Median milliseconds of several algorithms on random tensors.

    Args:
        problem: Facts of the call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        names: Some of :func:`cost.algorithms`.
        seconds: Time for each of them. Defaults to 0.2.

    Returns:
        dict[str, float]: Milliseconds by name, without Triton if it fails.
    """
    memory_format = (
        torch.channels_last
        if problem.channels_last
        else torch.contiguous_format
    )
    # no number is drawn from the generators of the user's run
    random = torch.Generator(problem.device).manual_seed(0)

    def draw(*shape):
        return torch.randn(
            shape,
            generator=random,
            device=problem.device,
            dtype=problem.dtype,
        )

    x = draw(*problem.shape).to(memory_format=memory_format)
    weight = draw(problem.shape[1], 1, *problem.kernel)
    grad = draw(*problem.shape).to(memory_format=memory_format)

    def run(algorithm):
        if direction == 'forward':
            forward(x, weight, None, False, algorithm)
        else:
            backward(
                grad,
                x,
                weight,
                algorithm if direction == 'grad_input' else None,
                algorithm if direction == 'grad_weight' else None,
            )

    def triton_run(config):
        if direction == 'forward':
            triton.forward(x, weight, config=config)
        else:
            getattr(triton, direction)(grad, x, weight, config)

    def tune(config):
        run = partial(triton_run, config)
        return time_in_turn({config: run}, device, 0.02)[config]

    device = problem.device
    # what is measured runs below autocast, as the operator does
    with torch.no_grad(), torch.autocast(device, enabled=False):
        runs = {name: partial(run, name) for name in names}
        if 'triton' in names:
            try:
                triton.tune(problem, direction, tune)
            except triton.failures() as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                triton.give_up(error)
                del runs['triton']
        return time_in_turn(runs, device, seconds, hopeless=HOPELESS)
