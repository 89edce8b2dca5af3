"""Time estimates for each algorithm: linear models of a few features."""

from typing import List, Tuple

from .backends import fft
from .cost_table import COEFFICIENTS
from .problem import Problem

FORWARD = (
    'direct_nchw',
    'direct_nhwc',
    'transposed_nchw',
    'transposed_nhwc',
    'fft',
)
GRAD_INPUT = FORWARD
GRAD_WEIGHT = ('transposed_nchw', 'transposed_nhwc', 'fft')
# Above this kernel size oneDNN leaves its fast code for contiguous tensors.
CLIFF = 9


def features(
    problem: Problem, direction: str, algorithm: str
) -> Tuple[str, List[float]]:
    """Name of the linear model and its features.

    Args:
        problem: The call.
        direction: 'forward', 'grad_input' or 'grad_weight'.
        algorithm: One of the names above.

    Returns:
        tuple[str, list[float]]: Key of the coefficients; features, each in
        millions.
    """
    n, c, h, w = problem.shape
    kh, kw = problem.kernel
    elements = n * c * h * w / 1e6
    if algorithm == 'fft':
        tiling = fft.plan_tiling((h, w), (kh, kw), n)
        work = fft.transform_work(tiling.points) * c / 1e6
        tiles = n * tiling.tiles
        transforms = {
            'forward': 2 * tiles,
            'grad_input': 2 * tiles,
            'grad_weight': 2 * tiles,
        }[direction]
        calls = max(1, c * tiles * tiling.points // fft.BLOCK_ELEMENTS['cpu'])
        return 'fft', [
            1,
            calls,
            work * transforms,
            work,
            elements * (1 + problem.channels_last),
        ]
    layout = algorithm.rpartition('_')[2]
    converted = elements * (problem.channels_last == (layout == 'nchw'))
    taps = mean_taps(h, kh) * mean_taps(w, kw)
    large = '/large' if max(kh, kw) > CLIFF else ''
    if direction == 'grad_input':
        direction = 'forward'
    return f'{direction}/{algorithm}{large}', [
        1,
        elements,
        elements * taps,
        converted,
    ]


def mean_taps(size: int, kernel: int) -> float:
    """Mean number of taps of one axis that fall on the map."""
    r = kernel // 2
    inside = sum(min(i, r) + min(size - 1 - i, r) + 1 for i in range(size))
    return inside / max(size, 1)


def estimate(problem: Problem, direction: str, algorithm: str) -> float:
    """Milliseconds that an algorithm should take."""
    key, values = features(problem, direction, algorithm)
    return sum(a * b for a, b in zip(COEFFICIENTS[key], values, strict=False))
