"""The time of each part of an exported model in ONNX Runtime."""

import json
import os.path as osp
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Dict, Set, Tuple

import torch

from mmrep.deploy.inputs import random_input
from mmrep.deploy.runtime.files import ExportedFile
from mmrep.errors import UsageError, one_line

PARTS = ('network', 'NMS', 'RoIAlign', 'heads of RoIs', 'pasting')
_KINDS = {'NonMaxSuppression': 'NMS', 'RoiAlign': 'RoIAlign'}


def part_of_nodes(graph: Any) -> Dict[str, str]:
    """The part of a model that each node of its graph belongs to.

    'network' is everything before NMS: backbone, neck, and the heads on their
    maps with the decoding of boxes. 'heads of RoIs' includes the decoding and
    selection of boxes that follows; 'pasting' turns probabilities into masks.

    Args:
        graph (onnx.GraphProto): Nodes in the order in which they run.

    Returns:
        dict[str, str]: One of ``PARTS`` for each node's name.
    """
    behind: Dict[str, Set[str]] = defaultdict(set)  # what led to a value
    found, kinds = {}, {}
    for node in graph.node:
        past = set().union(*(behind[name] for name in node.input))
        kind = node.op_type if node.op_type in _KINDS else None
        if _is_sigmoid(node) and 'RoiAlign' in past:
            kind = 'probabilities'  # of masks
        found[node.name], kinds[node.name] = past, kind
        for name in node.output:
            behind[name] = past | ({kind} if kind else set())
    before: Dict[str, Set[str]] = defaultdict(set)  # what a value leads to
    before['masks'].add('masks')
    parts = {}
    for node in reversed(graph.node):
        past, kind = found[node.name], kinds[node.name]
        leads = set().union(*(before[name] for name in node.output))
        for name in node.input:
            before[name] |= leads | ({kind} if kind else set())
        if kind in _KINDS:
            part = _KINDS[kind]
        elif not past:
            part = 'network'
        # or computes from the boxes alone where masks go
        elif 'probabilities' in past or (leads == {'masks'} and not kind):
            part = 'pasting'
        else:
            part = 'heads of RoIs'
        parts[node.name] = part
    return parts


def _is_sigmoid(node: Any) -> bool:
    """Whether a node is a sigmoid, or is fused with one by ONNX Runtime."""
    return node.op_type == 'Sigmoid' or any(
        attribute.name == 'activation' and attribute.s == b'Sigmoid'
        for attribute in node.attribute
    )


def cost_of_parts(
    path: str, size: Tuple[int, int], runs: int = 5
) -> Dict[str, float]:
    """Milliseconds of each part for a picture of noise, from the same runs.

    Args:
        path (str): An ``.onnx`` that ``tools/export.py`` wrote.
        size (tuple[int, int]): Height and width of the picture.
        runs (int): Number of runs, of which the median counts; one run before
            them does not count. Defaults to 5.

    Returns:
        dict[str, float]: 'whole', and those of ``PARTS`` that the model has.

    Raises:
        UsageError: If the file comes from another program, or does not run.
    """
    known = ExportedFile(path)
    import onnx
    import onnxruntime

    noise = random_input(size, channels=known.channels)
    if known.about['input'] != 'normalised':
        noise = (noise * 64 + 128).clamp(0, 255)
    if known.about['input'].startswith('picture'):
        noise = noise.to(torch.uint8)
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # it warns about the file it writes
        graph = osp.join(folder, 'graph.onnx')
        options.optimized_model_filepath = graph
        options.enable_profiling = True
        options.profile_file_prefix = osp.join(folder, 'profile')
        session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
        try:
            for _ in range(runs + 1):
                session.run(None, {'image': noise.numpy()})
        except Exception as error:
            raise UsageError(
                f'{path} does not run on an input of {tuple(noise.shape)}: '
                f'{one_line(error)[:200]}'
            ) from error
        events = json.loads(Path(session.end_profiling()).read_text())
        parts = part_of_nodes(onnx.load(graph).graph)
    spent: Dict[str, Dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        name, _, kind = event['name'].rpartition('_kernel_')
        if kind == 'time':
            spent[parts[name]][name].append(event['dur'] / 1000)
        elif event['name'] == 'model_run':
            spent['whole']['run'].append(event['dur'] / 1000)
    return {
        part: median(
            sum(turn)
            for turn in zip(
                *(t[1:] for t in spent[part].values()), strict=True
            )
        )
        for part in ('whole', *PARTS)
        if part in spent
    }
