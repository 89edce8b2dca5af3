"""The nodes of an ONNX graph to quantize: layers, and what moves maps."""

from collections import defaultdict
from typing import Any, Dict, Iterable, List, NamedTuple, Set, Tuple

import numpy as np

from mmrep.deploy.runtime.parts import part_of_nodes
from mmrep.errors import UsageError

# Operators with weights, and operators that pass on quantized maps.
LAYER_KINDS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
MOVING_KINDS = ('Relu', 'MaxPool', 'Resize', 'Concat', 'Add')
# Operators of a file that is already quantized.
_QUANTIZED_KINDS = (
    'ConvInteger', 'DequantizeLinear', 'DynamicQuantizeLinear',
    'MatMulInteger', 'QLinearConv', 'QLinearMatMul', 'QuantizeLinear',
)  # fmt: skip


class Layer(NamedTuple):
    """A layer with weights.

    Attributes:
        node: Name of its node.
        name: Name in reports: that of its weight, if it has one.
        weight: Shape (C_out, C_in / groups, Kh, Kw), or (C_out, C_in).
        output: Name of its output.
        part: One of ``mmrep.deploy.runtime.parts.PARTS``.
        depthwise: Whether each channel is convolved separately.
    """

    node: str
    name: str
    weight: np.ndarray
    output: str
    part: str
    depthwise: bool

    @property
    def kernel(self) -> int:
        """The longer side of the kernel, or 1 for a matrix."""
        return max(self.weight.shape[2:], default=1)


def check_float(graph: Any, path: str) -> None:
    """Raise an error if a graph is already quantized."""
    for node in graph.node:
        if node.op_type in _QUANTIZED_KINDS:
            raise UsageError(
                f'{path} is already quantized (it has {node.op_type}); give '
                'the file that tools/export.py wrote, or a checkpoint.'
            )


def layers_of(graph: Any) -> List[Layer]:
    """The layers with constant weights, in execution order."""
    from onnx import numpy_helper

    weights = {x.name: x for x in graph.initializer}
    parts = part_of_nodes(graph)
    layers = []
    for node in graph.node:
        if node.op_type not in LAYER_KINDS or node.input[1] not in weights:
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        if weight.ndim < 2:
            continue
        options = {a.name: a.i for a in node.attribute}
        if node.op_type == 'ConvTranspose':
            weight = weight.swapaxes(0, 1)
        elif node.op_type == 'MatMul' or (
            node.op_type == 'Gemm' and not options.get('transB')
        ):
            weight = weight.swapaxes(-2, -1)
        # PyTorch's exporter transposes matrices, which then have no name
        named = '.' in node.input[1]
        layers.append(
            Layer(
                node.name,
                node.input[1].removesuffix('.weight') if named else node.name,
                weight,
                node.output[0],
                parts[node.name],
                options.get('group', 1) == len(weight) > 1,
            )
        )
    return layers


def moving_nodes(graph: Any) -> List[str]:
    """Names of the nodes that pass on maps to layers of the network.

    Decoding of boxes does not count: it leads to layers only through RoIAlign.
    """
    parts = part_of_nodes(graph)
    layers = {layer.node for layer in layers_of(graph)}
    leads: Set[str] = set()  # values that lead to a layer
    names = []
    for node in reversed(graph.node):
        if parts[node.name] != 'network':
            continue
        if node.name in layers:
            leads.update(node.input)
        elif any(name in leads for name in node.output):
            leads.update(node.input)
            if node.op_type in MOVING_KINDS:
                names.append(node.name)
    return names[::-1]


def last_layers(graph: Any, layers: Iterable[Layer]) -> Dict[str, List[str]]:
    """The outputs of the last layers, which no other follows, by part."""
    by_node = {layer.node: layer for layer in layers}
    leads: Dict[str, Set[str]] = defaultdict(set)  # parts of later layers
    found: Dict[str, List[str]] = defaultdict(list)
    for node in reversed(graph.node):
        behind = set().union(*(leads[name] for name in node.output))
        layer = by_node.get(node.name)
        if layer is not None:
            if layer.part not in behind:
                found[layer.part].append(layer.output)
            behind.add(layer.part)
        for name in node.input:
            leads[name] |= behind
    return dict(found)


class KernelRange(NamedTuple):
    """The spread of a layer's weights.

    Attributes:
        layer: Name of the layer.
        kernel: The longer side of its kernel.
        channels: Number of its output channels.
        spread: The largest weight divided by the median of the channels'
            largest ones, which is what a single scale for the tensor costs.
        peak: The median over the channels of the largest weight divided by the
            root mean square, which is what one scale per channel costs.
        decibels: Signal-to-noise ratio of the weights in eight bits, with a
            scale for each channel.
        decibels_one_scale: The same with one scale for the whole tensor.
    """

    layer: str
    kernel: int
    channels: int
    spread: float
    peak: float
    decibels: float
    decibels_one_scale: float


def kernel_ranges(layers: Iterable[Layer]) -> List[KernelRange]:
    """The ranges of the depth-wise kernels, which may be merged ones."""
    found = []
    for layer in layers:
        if not layer.depthwise or layer.kernel < 3:
            continue
        rows = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
        largest = np.abs(rows).max(1)
        root = np.sqrt((rows**2).mean(1))
        there = largest > 0
        if not there.any():
            continue
        found.append(
            KernelRange(
                layer.name,
                layer.kernel,
                len(rows),
                float(largest.max() / np.median(largest[there])),
                float(np.median(largest[there] / root[there])),
                _decibels(rows, largest[:, None]),
                _decibels(rows, largest.max()),
            )
        )
    return found


def _decibels(rows: np.ndarray, largest: Any) -> float:
    """Signal-to-noise ratio of rounding to eight bits, in decibels."""
    scale = np.maximum(largest, 1e-30) / 127
    noise = (np.round(rows / scale) * scale - rows) ** 2
    if not noise.any():
        return float('inf')
    return float(10 * np.log10((rows**2).sum() / noise.sum()))


def with_outputs(model: Any, names: Iterable[str]) -> Tuple[Any, List[str]]:
    """A copy of a model that also returns some internal values.

    Returns:
        tuple[onnx.ModelProto, list[str]]: The model and the names, each once.
    """
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    known = {output.name for output in copied.graph.output}
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in known:
            copied.graph.output.add().name = name
    return copied, names
