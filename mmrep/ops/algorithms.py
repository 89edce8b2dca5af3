"""Run one algorithm of one direction, and time it."""

import time
from typing import Callable, List, Optional, Tuple

import torch
from torch import Tensor

from .backends import fft, native, triton
from .problem import Problem


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
        spectra: See :class:`mmrep.ops.dispatch.Plan`. Defaults to 'drop'.

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
    problem: Problem, direction: str, algorithm: str, seconds: float = 0.2
) -> List[float]:
    """Milliseconds of a few runs of an algorithm on random tensors.

    Args:
        problem: Facts of the call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        algorithm: One of :func:`cost.algorithms`.
        seconds: No new run starts after this time. Defaults to 0.2.

    Returns:
        list[float]: Times of one to nine runs after a first one.
    """
    memory_format = (
        torch.channels_last
        if problem.channels_last
        else torch.contiguous_format
    )
    options = {'device': problem.device, 'dtype': problem.dtype}
    x = torch.randn(problem.shape, **options).to(memory_format=memory_format)
    weight = torch.randn(problem.shape[1], 1, *problem.kernel, **options)
    grad = torch.randn_like(x)

    def run():
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
            return lambda: triton.forward(x, weight, config=config)
        call = getattr(triton, direction)
        return lambda: call(grad, x, weight, config)

    with torch.no_grad():
        if algorithm == 'triton':
            triton.tune(
                problem,
                direction,
                lambda config: min(
                    time_runs(triton_run(config), problem.device, 0.02)
                ),
            )
        return time_runs(run, problem.device, seconds)


def time_runs(
    run: Callable[[], None], device: str, seconds: float, most: int = 9
) -> List[float]:
    """Milliseconds of up to ``most`` runs after a first one."""
    sync = torch.cuda.synchronize if device == 'cuda' else None
    times = []
    end = time.perf_counter() + seconds
    run()
    while not times or (len(times) < most and time.perf_counter() < end):
        if sync:
            sync()
        start = time.perf_counter()
        run()
        if sync:
            sync()
        times.append((time.perf_counter() - start) * 1e3)
    return times
