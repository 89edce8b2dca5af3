"""Find the layers of a quantized file that must stay in float."""

from typing import Callable, Dict, Sequence

import numpy as np
from torch import Tensor

from mmrep.deploy.quantize.files import FloatFile, values_of
from mmrep.deploy.quantize.graph import last_layers
from mmrep.deploy.quantize.score import Track, silent


def sensitivities(
    file: FloatFile,
    inputs: Sequence[Tensor],
    weight_bits: int = 8,
    track: Track = silent,
) -> Dict[str, float]:
    """The error that each layer causes if only this layer has eight bits.

    It is measured at the last layers before NMS, which small changes do not
    make jump; for layers after RoIAlign, at the last of these.

    Args:
        file (FloatFile): Calibrated.
        inputs (Sequence[Tensor]): What the file takes, each (1, C, H, W).
        weight_bits (int): Weight bits of the file to be written. Defaults to
            8.
        track (Callable): Shows progress. By default nothing is shown.

    Returns:
        dict[str, float]: For each layer's node, the power of the error divided
            by that of the outputs, the largest first.
    """
    ends = last_layers(file.model.graph, file.layers)
    expected = {
        part: values_of(file.path, names, inputs)
        for part, names in ends.items()
    }
    nodes = [layer.node for layer in file.layers]
    found = {}
    for layer in track(
        file.layers, 'Layers in eight bits, one at a time', len(nodes)
    ):
        others = [node for node in nodes if node != layer.node]
        path = file.quantize(
            'one.onnx', others, moving=False, weight_bits=weight_bits
        )
        values = values_of(path, ends[layer.part], inputs)
        found[layer.node] = _error(expected[layer.part], values)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _error(
    expected: Sequence[Sequence[np.ndarray]],
    found: Sequence[Sequence[np.ndarray]],
) -> float:
    """Relative power of the difference, the largest over the outputs."""
    worst = 0.0
    for reference, values in zip(
        zip(*expected, strict=True), zip(*found, strict=True), strict=True
    ):
        noise = sum(
            float(((a - b).astype(np.float64) ** 2).sum())
            for a, b in zip(reference, values, strict=True)
        )
        power = sum(
            float((a.astype(np.float64) ** 2).sum()) for a in reference
        )
        worst = max(worst, noise / max(power, 1e-30))
    return worst


def fewest_in_float(count: int, holds: Callable[[int], bool]) -> int:
    """How many of the most sensitive layers must stay in float.

    It tries 1, 2, 4, ... until it holds, then bisects between the last two.

    Args:
        count (int): Number of layers.
        holds (Callable): Whether a file holds with this many layers in float;
            with none it does not.

    Returns:
        int: The number, or ``count`` if nothing less holds.
    """
    low, high = 0, 1
    while high < count and not holds(high):
        low, high = high, high * 2
    high = min(high, count)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
