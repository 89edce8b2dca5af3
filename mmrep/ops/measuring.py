"""Times of several algorithms for one direction of a problem."""

from functools import partial
from typing import Dict, Sequence

import torch

from .backends import OWNER
from .problem import Problem
from .timing import time_in_turn

# An algorithm that takes this many times the fastest is timed only once.
HOPELESS = 8.0


def measure(
    problem: Problem,
    direction: str,
    names: Sequence[str],
    seconds: float = 0.2,
    tune: bool = True,
) -> Dict[str, float]:
    """Median milliseconds of several algorithms on random tensors.

    Args:
        problem: The call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        names: Algorithms of any backends.
        seconds: Time for each of them. Defaults to 0.2.
        tune: Find the best parameters of a backend first, for which it may
            compile many kernels. Defaults to True.

    Returns:
        dict[str, float]: Milliseconds by name, without those of backends that
            fail.
    """
    memory_format = (
        torch.channels_last
        if problem.channels_last
        else torch.contiguous_format
    )
    # the random generators of the user's run are left untouched
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
        backend = OWNER[algorithm]
        if direction == 'forward':
            backend.forward(x, weight, None, False, algorithm, 'drop')
            return
        backend.backward(
            grad,
            x,
            weight,
            algorithm if direction == 'grad_input' else None,
            algorithm if direction == 'grad_weight' else None,
            None,
            None,
        )

    runs = {name: partial(run, name) for name in names}
    # measured code runs below autocast, as the operator does
    with torch.no_grad(), torch.autocast(problem.device, enabled=False):
        for backend in {OWNER[name] for name in names if tune}:
            try:
                backend.tune(problem, direction, x, weight, grad)
            except backend.failures() as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                backend.give_up(error)
                for name in backend.algorithms:
                    runs.pop(name, None)
        return time_in_turn(runs, problem.device, seconds, hopeless=HOPELESS)
