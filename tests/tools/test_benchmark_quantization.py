"""tools/benchmarks/benchmark_quantization.py: the ways, and the tool."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mmrep.deploy.quantize.files import values_of
from mmrep.deploy.quantize.graph import layers_of

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/benchmark_quantization.py'


@pytest.fixture(scope='module')
def tool():
    return SimpleNamespace(**runpy.run_path(str(TOOL)))


@pytest.fixture
def path(tmp_path):
    """Convolution, ReLU, large kernel, ReLU, convolution."""
    noise = np.random.RandomState(0)
    shapes = dict(a=(6, 3, 1, 1), b=(6, 1, 9, 7), c=(4, 6, 1, 1))
    weights = {
        k: noise.randn(*v).astype(np.float32) for k, v in shapes.items()
    }
    weights['a'] *= np.logspace(0, 2, 6, dtype=np.float32)[:, None, None, None]
    weights['bias'] = noise.randn(6).astype(np.float32)
    nodes = [
        helper.make_node('Conv', ['image', 'a', 'bias'], ['1'], '1'),
        helper.make_node('Relu', ['1'], ['2'], '2'),
        helper.make_node(
            'Conv', ['2', 'b', 'bias'], ['3'], '3', group=6, pads=[4, 3, 4, 3]
        ),
        helper.make_node('Relu', ['3'], ['4'], '4'),
        helper.make_node('Conv', ['4', 'c'], ['5'], '5'),
    ]
    ends = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ['n', channels, 'h', 'w']
        )
        for name, channels in (('image', 3), ('5', 4))
    ]
    initial = [numpy_helper.from_array(w, k) for k, w in weights.items()]
    graph = helper.make_graph(nodes, 'g', ends[:1], ends[1:], initial)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10
    )
    onnx.save(model, f'{tmp_path}/float.onnx')
    return f'{tmp_path}/float.onnx'


def check_same(path, model, inputs):
    onnx.save(model, f'{path}.changed')
    expected, found = (
        values_of(p, ['5'], inputs) for p in (path, f'{path}.changed')
    )
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b[0], a[0], rtol=1e-3, atol=1e-2)


def test_split_middles(tool, path):
    model = onnx.load(path)
    assert tool.split_middles(model) == 1
    rest, middle = (x for x in layers_of(model.graph) if x.depthwise)
    assert (rest.kernel, middle.kernel) == (9, 5)
    assert not rest.weight[:, :, 2:7, 1:6].any() and rest.weight.any()
    check_same(path, model, [torch.randn(1, 3, 12, 14)])


def test_equalize(tool, path):
    model = onnx.load(path)
    inputs = [torch.randn(1, 3, 12, 14) for _ in range(3)]
    assert tool.equalize(model, path, inputs) == 1
    check_same(path, model, inputs)
    spreads = []
    for file in (path, f'{path}.changed'):
        maps = [x[0] for x in values_of(file, ['2'], inputs)]
        largest = np.max([m.max((0, 2, 3)) for m in maps], 0)
        spreads.append(largest.max() / largest.min())
    assert spreads[0] > 20 and spreads[1] == pytest.approx(1, rel=1e-3)


@pytest.mark.slow
def test_table_and_json(run_tool, small_segmentor, shapes_root, tmp_path):
    config, checkpoint = small_segmentor
    file, out = tmp_path / 'm.onnx', tmp_path / 'ways.json'
    done = run_tool(
        ROOT / 'tools/export.py', config, checkpoint, file, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    done = run_tool(
        TOOL, config, file, '--data-root', shapes_root, '--calibrate', 2,
        '--out', out, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert len(found['rows']) == 8 and len(found['kernels']) >= 4
    for row in found['rows']:
        assert f'| {row["way"]} |' in done.stdout


def test_table_of_the_docs():
    """What docs/deployment.md says is what the files beside it give."""
    text = (ROOT / 'docs/deployment.md').read_text()
    files = sorted((ROOT / 'docs/benchmarks').glob('quantization_*.json'))
    assert len(files) >= 3
    for file in files:
        assert file.name in text
        for row in json.loads(file.read_text())['rows']:
            (value,) = row['score'].values()
            assert any(
                line.startswith(f'| {row["way"]} |')
                and f' {value:.2f} ' in line
                for line in text.splitlines()
            ), (file.name, row['way'])
