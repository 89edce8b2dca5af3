"""Measure what large merged kernels cost in eight bits, and what helps.

Several ways to quantize an exported file are scored on the validation set and
compared with the float file: everything, with a scale for each channel of a
weight or one for all; everything except the large kernels, or only these; with
channels equalized first; with the centre of the large kernels split off.
Weights have eight bits, or seven if the processor has no VNNI; the other
number comes last.

    tools/benchmarks/benchmark_quantization.py CONFIG model.onnx --out r.json
"""

import argparse

from mmrep_cli.arguments import (
    add_config_options,
    parse_arguments,
    positive,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of either form')
    parser.add_argument(
        'file', help='an .onnx file written by tools/export.py'
    )
    parser.add_argument(
        '--calibrate',
        type=positive,
        default=64,
        metavar='N',
        help='training images to measure ranges on (default: 64)',
    )
    parser.add_argument(
        '--data-root', help="folder of the data set (default: the config's)"
    )
    parser.add_argument('--out', metavar='JSON', help='file for the results')
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Sequence

import numpy as np
from torch import Tensor

from mmrep.deploy.quantize.files import (
    FloatFile,
    check_installed,
    default_weight_bits,
    values_of,
)
from mmrep.deploy.quantize.graph import Layer, kernel_ranges, layers_of
from mmrep.deploy.quantize.pictures import calibration_input, calibration_paths
from mmrep.deploy.quantize.score import drop, score, validation
from mmrep.deploy.runtime import load_exported
from mmrep.engine import check_data, load_config, set_data_root
from mmrep.engine.cli import run
from mmrep.files import write_json
from mmrep.machine import facts

# Size split off from the centre of a kernel: the small one merged there.
MIDDLE = 5
# A kernel of this size or more is called large.
LARGE = 7


def large_layers(layers: Sequence[Layer]) -> List[Layer]:
    return [x for x in layers if x.depthwise and x.kernel >= LARGE]


def weight_of(model: Any, node: Any, place: int = 1) -> np.ndarray:
    from onnx import numpy_helper

    known = {x.name: x for x in model.graph.initializer}
    return numpy_helper.to_array(known[node.input[place]])


def set_weight(model: Any, node: Any, value: np.ndarray, place: int = 1):
    """Give a node its own value, because nodes share equal ones."""
    from onnx import numpy_helper

    name = f'{node.name}.{place}.{len(model.graph.initializer)}'
    value = np.ascontiguousarray(value, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[place] = name


def split_middles(model: Any) -> int:
    """Split each large convolution into two: the centre, and the rest.

    Returns:
        int: Number of kernels split.
    """
    from onnx import helper

    large = {x.node for x in large_layers(layers_of(model.graph))}
    for i in reversed(range(len(model.graph.node))):
        node = model.graph.node[i]
        if node.name not in large:
            continue
        weight = weight_of(model, node).copy()
        cut = [slice(k // 2 - MIDDLE // 2, k // 2 + MIDDLE // 2 + 1)
               for k in weight.shape[2:]]  # fmt: skip
        middle = weight[:, :, cut[0], cut[1]].copy()
        weight[:, :, cut[0], cut[1]] = 0
        set_weight(model, node, weight)
        out = node.output[0]
        node.output[0] = f'{out}.rest'
        small = helper.make_node(
            'Conv', [node.input[0], ''], [f'{out}.middle'],
            f'{node.name}.middle', group=len(middle),
            pads=[MIDDLE // 2] * 4,
        )  # fmt: skip
        set_weight(model, small, middle)
        both = helper.make_node(
            'Add', [f'{out}.rest', f'{out}.middle'], [out], f'{node.name}.sum'
        )
        model.graph.node.insert(i + 1, small)
        model.graph.node.insert(i + 2, both)
    return len(large)


def equalize(model: Any, path: str, inputs: Sequence[Tensor]) -> int:
    """Scale the channels before and after large kernels, as ReLU allows.

    In convolution, ReLU, large kernel, ReLU, convolution, the channels of the
    first map in between are scaled to the same largest value; after the kernel
    only by the root of the factor, because the next convolution shares a scale
    among them.

    Args:
        model (onnx.ModelProto): Changed in place.
        path (str): The file that it was read from.
        inputs (Sequence[Tensor]): Inputs for measuring the channels.

    Returns:
        int: Number of large kernels between such layers.
    """
    producer = {name: n for n in model.graph.node for name in n.output}
    users: Dict[str, List[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    chains = []
    for layer in large_layers(layers_of(model.graph)):
        kernel = producer[layer.output]
        before = producer.get(kernel.input[0])
        behind = users.get(layer.output, [])
        if before is None or before.op_type != 'Relu' or len(behind) != 1:
            continue
        first = producer.get(before.input[0])
        after = users.get(behind[0].output[0], [])
        if (
            first is not None
            and first.op_type == 'Conv'
            and len(users[before.output[0]]) == 1
            and behind[0].op_type == 'Relu'
            and len(after) == 1
            and after[0].op_type == 'Conv'
        ):
            chains.append((first, before, kernel, behind[0], after[0]))
    names = [n.output[0] for chain in chains for n in (chain[1], chain[3])]
    if not chains:
        return 0
    values = values_of(path, names, inputs)
    largest = {
        name: np.max([v[i].max((0, 2, 3)) for v in values], 0)
        for i, name in enumerate(names)
    }
    for first, before, kernel, behind, after in chains:
        scale = _factors(largest[before.output[0]], 1.0)
        _scale_outputs(model, first, 1 / scale)
        weight = weight_of(model, kernel)
        set_weight(model, kernel, weight * _column(scale, weight))
        scale = _factors(largest[behind.output[0]], 0.5)
        _scale_outputs(model, kernel, 1 / scale)
        weight = weight_of(model, after)
        set_weight(model, after, weight * scale[None, :, None, None])
    return len(chains)


def _factors(largest: np.ndarray, power: float) -> np.ndarray:
    """Divisor of each channel, with a geometric mean of 1."""
    there = largest > 0
    found = np.ones_like(largest)
    if there.any():
        logs = np.log(largest[there])
        found[there] = np.exp(power * (logs - logs.mean()))
    return found


def _column(scale: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return scale.reshape(-1, *[1] * (weight.ndim - 1))


def _scale_outputs(model: Any, node: Any, scale: np.ndarray) -> None:
    for place in range(1, len(node.input)):
        value = weight_of(model, node, place)
        set_weight(model, node, value * _column(scale, value), place)


def variants(
    path: str, folder: Path, inputs: Sequence[Tensor]
) -> Dict[str, str]:
    """Files of each way, by name."""
    import onnx

    def calibrated(name: str, model: Any = None) -> FloatFile:
        own = folder / name
        own.mkdir()
        source = path
        if model is not None:
            source = f'{own}/changed.onnx'
            used = {name for node in model.graph.node for name in node.input}
            kept = [x for x in model.graph.initializer if x.name in used]
            del model.graph.initializer[:]
            model.graph.initializer.extend(kept)
            onnx.save(model, source)
        file = FloatFile(source, str(own))
        file.calibrate(inputs)
        return file

    bits = default_weight_bits()
    file = calibrated('plain')
    large = [x.node for x in large_layers(file.layers)]
    others = [x.node for x in file.layers if x.node not in large]

    def made(name: str, file: FloatFile = file, **options: Any) -> str:
        options.setdefault('weight_bits', bits)
        return file.quantize(name, **options)

    found = {
        'all, one scale per channel': made('channel.onnx'),
        'all, one scale per tensor': made('tensor.onnx', per_channel=False),
        'large kernels in float': made('others.onnx', in_float=large),
        'only large kernels': made(
            'large.onnx', in_float=others, moving=False
        ),
    }
    model = onnx.load(path)
    if split_middles(model):
        split = calibrated('split', model)
        found['all, their centres split off'] = made('split.onnx', split)
    model = onnx.load(path)
    if equalize(model, path, inputs):
        even = calibrated('even', model)
        found['all, channels equalized'] = made('even.onnx', even)
    found[f'all, {15 - bits}-bit weights'] = made(
        'bits.onnx', weight_bits=15 - bits
    )
    return found


def main() -> None:
    args = parse_args()
    check_installed()
    cfg = load_config(args.config, args.cfg_options)
    loaders = 'train_dataloader', f'{validation(cfg)}_dataloader'
    if args.data_root:
        set_data_root(cfg, args.data_root, loaders)
    check_data(cfg, *loaders)
    stand_in = load_exported(cfg, args.file)
    inputs = [
        calibration_input(cfg, stand_in, path)
        for path in calibration_paths(cfg, args.calibrate)
    ]
    before = score(cfg, stand_in, '')
    rows = [dict(way='float', score=before, drop=0.0)]
    with TemporaryDirectory() as folder:
        file = FloatFile(args.file, folder)
        kernels = [x._asdict() for x in kernel_ranges(file.layers)]
        for way, path in variants(args.file, Path(folder), inputs).items():
            after = score(cfg, load_exported(cfg, path), '')
            rows.append(dict(way=way, score=after, drop=drop(before, after)))
            print(f'{way}: {after}', file=sys.stderr, flush=True)
    names = list(before)
    print(f'| | {" | ".join(names)} | lost |')
    print('| --- ' * (len(names) + 2) + '|')
    for row in rows:
        values = ' | '.join(f'{row["score"][name]:.2f}' for name in names)
        print(f'| {row["way"]} | {values} | {row["drop"]:.2f} |')
    if args.out:
        about = dict(
            facts('cpu'),
            config=args.config,
            calibrated=len(inputs),
            weight_bits=default_weight_bits(),
        )
        write_json(args.out, dict(about, rows=rows, kernels=kernels))


if __name__ == '__main__':
    run(main)
