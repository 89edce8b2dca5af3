"""Files in eight bits: what is quantized, at what cost, and what is said."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mmrep.deploy.quantize import quantize, score
from mmrep.deploy.quantize.files import FloatFile, default_weight_bits
from mmrep.deploy.quantize.graph import (
    kernel_ranges,
    last_layers,
    layers_of,
    moving_nodes,
)
from mmrep.deploy.quantize.pictures import calibration_paths
from mmrep.deploy.quantize.search import fewest_in_float, sensitivities
from mmrep.deploy.runtime import ExportedFile, load_exported
from mmrep.deploy.whole.metadata import model_of
from mmrep.engine import load_config, set_data_root
from mmrep.errors import UsageError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
# The middle layer, whose channels have one tap that dwarfs the others.
WORST = 'large.weight'
LOADERS = 'train_dataloader', 'val_dataloader'


def node(kind, inputs, outputs, **options):
    return helper.make_node(kind, inputs, outputs, outputs[0], **options)


def toy(cfg=None, seed=0):
    """Picture, convolution, large kernel, convolution, logits, labels."""
    noise = np.random.RandomState(seed)
    large = noise.randn(8, 1, 9, 9).astype(np.float32) * 0.05
    large[:, :, 4, 4] = 20
    weights = {
        'stem.weight': noise.randn(8, 3, 3, 3).astype(np.float32) / 255,
        'stem.bias': noise.randn(8).astype(np.float32),
        WORST: large,
        'seg.weight': noise.randn(7, 8, 1, 1).astype(np.float32),
    }
    nodes = [
        node('Cast', ['image'], ['pixels'], to=FLOAT),
        node(
            'Conv', ['pixels', 'stem.weight', 'stem.bias'], ['stem'],
            pads=[1, 1, 1, 1],
        ),
        node('Relu', ['stem'], ['positive']),
        node(
            'Conv', ['positive', WORST], ['large'], pads=[4, 4, 4, 4], group=8
        ),
        node('Add', ['positive', 'large'], ['sum']),
        node('Conv', ['sum', 'seg.weight'], ['logits']),
        node('Relu', ['logits'], ['decoded']),
        node('ArgMax', ['decoded'], ['labels'], axis=1, keepdims=0),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        'toy',
        [
            helper.make_tensor_value_info(
                'image', TensorProto.UINT8, ['n', 3, 'h', 'w']
            )
        ],
        [
            helper.make_tensor_value_info('labels', INT64, ['n', 'h', 'w']),
            helper.make_tensor_value_info('logits', FLOAT, ['n', 7, 'h', 'w']),
        ],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10
    )
    decisions = dict(
        num_classes=7, out_channels=7, align_corners=False, threshold=None
    )
    about = dict(input='picture', channels='BGR')
    about['decisions'] = json.dumps(decisions)
    about['model'] = 'toy' if cfg is None else model_of(cfg)
    for key, text in about.items():
        model.metadata_props.add(key=key, value=text)
    return model


@pytest.fixture
def cfg(small_segmentor, shapes_root):
    cfg = load_config(str(small_segmentor[0]))
    set_data_root(cfg, str(shapes_root), LOADERS)
    return cfg


@pytest.fixture
def path(cfg, tmp_path):
    onnx.save(toy(cfg), f'{tmp_path}/float.onnx')
    return f'{tmp_path}/float.onnx'


def pictures(count=2):
    generator = torch.Generator().manual_seed(0)
    shape = 1, 3, 24, 32
    return [
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for _ in range(count)
    ]


def test_what_is_a_layer():
    graph = toy().graph
    layers = layers_of(graph)
    assert [x.name for x in layers] == ['stem', 'large', 'seg']
    assert [x.depthwise for x in layers] == [False, True, False]
    assert [x.kernel for x in layers] == [3, 9, 1]
    # neither Relu nor anything else behind the last layer
    assert moving_nodes(graph) == ['positive', 'sum']
    assert last_layers(graph, layers) == {'network': ['logits']}


def test_matrices_and_transposed_convolutions():
    weights = {
        'a': np.zeros((4, 6), np.float32),
        'b': np.zeros((6, 5), np.float32),
        'c': np.zeros((5, 3), np.float32),
        'd': np.zeros((3, 9, 2, 2), np.float32),
        'bias': np.zeros(4, np.float32),
    }
    graph = helper.make_graph(
        [
            node('MatMul', ['x', 'a'], ['1']),
            node('Gemm', ['1', 'b'], ['2']),
            node('Gemm', ['2', 'c'], ['3'], transB=0),
            node('ConvTranspose', ['y', 'd'], ['4']),
            node('MatMul', ['1', '2'], ['5']),
            node('MatMul', ['1', 'bias'], ['6']),
        ],
        'g', [], [],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    found = [(x.name, x.weight.shape) for x in layers_of(graph)]
    assert found == [
        ('1', (6, 4)), ('2', (5, 6)), ('3', (3, 5)), ('4', (9, 3, 2, 2)),
    ]  # fmt: skip


def test_what_lies_behind_roi_align_is_a_part_of_its_own():
    weights = {
        'a': np.zeros((4, 3, 1, 1), np.float32),
        'b': np.zeros((2, 4), np.float32),
    }
    graph = helper.make_graph(
        [
            node('Conv', ['x', 'a'], ['map']),
            node('Concat', ['map', 'map'], ['boxes']),
            node('RoiAlign', ['map', 'boxes', 'i'], ['rois']),
            node('Gemm', ['rois', 'b'], ['scores'], transB=1),
        ],
        'g', [], [],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    assert moving_nodes(graph) == []
    ends = last_layers(graph, layers_of(graph))
    assert ends == {'network': ['map'], 'heads of RoIs': ['scores']}


def test_ranges():
    (kernel,) = kernel_ranges(layers_of(toy().graph))
    assert (kernel.layer, kernel.kernel, kernel.channels) == ('large', 9, 8)
    # of 81 taps nearly all of the power is one's
    assert kernel.spread == pytest.approx(1)
    assert kernel.peak == pytest.approx(9, rel=1e-2)
    layer = layers_of(toy().graph)[1]
    weight = layer.weight * np.logspace(0, 3, 8)[:, None, None, None]
    (wide,) = kernel_ranges([layer._replace(weight=weight)])
    assert wide.spread == pytest.approx(1000 / np.median(np.logspace(0, 3, 8)))
    assert wide.decibels > wide.decibels_one_scale
    assert kernel_ranges([layer._replace(weight=0 * weight)]) == []
    exact = np.resize(np.arange(-127.0, 128), layer.weight.shape)
    exact[:, :, 0, 0] = 127
    (exact,) = kernel_ranges([layer._replace(weight=exact)])
    assert exact.decibels == float('inf')


def test_files(path, tmp_path):
    file = FloatFile(path, str(tmp_path))
    inputs = pictures()
    file.calibrate(inputs)
    expected = ExportedFile(path).run(inputs[0])['logits']
    errors = []
    for in_float in ([], ['large'], ['stem', 'large', 'logits']):
        new = file.quantize('new.onnx', in_float, texts=dict(quantized='yes'))
        found = ExportedFile(new)
        assert found.about['quantized'] == 'yes'
        assert found.decisions['num_classes'] == 7
        logits = found.run(inputs[0])['logits']
        errors.append(float((logits - expected).norm() / expected.norm()))
        graph = onnx.load(new).graph
        kinds = {n.output[0]: n.op_type for n in graph.node}
        weights = [
            kinds.get(n.input[1]) for n in graph.node if n.op_type == 'Conv'
        ]
        assert weights.count('DequantizeLinear') == 3 - len(in_float)
    assert 0.05 > errors[0] > errors[1] > 1e-4
    with pytest.raises(UsageError, match='already quantized'):
        FloatFile(file.quantize('new.onnx'), str(tmp_path))


def test_sensitivity(path, tmp_path):
    file = FloatFile(path, str(tmp_path))
    file.calibrate(pictures())
    found = sensitivities(file, pictures(1))
    assert set(found) == {'stem', 'large', 'logits'}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert min(found.values()) > 0


@pytest.mark.parametrize('bits, largest', [(8, 127), (7, 64)])
def test_weight_bits(path, tmp_path, bits, largest):
    file = FloatFile(path, str(tmp_path))
    file.calibrate(pictures(1))
    graph = onnx.load(file.quantize('new.onnx', weight_bits=bits)).graph
    weights = [
        numpy_helper.to_array(x).astype(int)
        for x in graph.initializer
        if x.data_type == TensorProto.INT8 and len(x.dims) == 4
    ]
    assert [abs(w).max() for w in weights] == [largest] * 3


def test_bits_that_a_processor_multiplies(monkeypatch):
    for has, bits in ((True, 8), (False, 7)):
        monkeypatch.setattr(
            torch.cpu, '_is_vnni_supported', lambda has=has: has
        )
        assert default_weight_bits() == bits


@pytest.mark.parametrize('count', [1, 2, 7, 48])
def test_fewest_in_float(count):
    for least in range(1, count + 1):
        asked = []

        def holds(number, least=least, asked=asked):
            assert 0 < number < count
            asked.append(number)
            return number >= least

        assert fewest_in_float(count, holds) == least
        assert len(asked) == len(set(asked)) <= 2 * least.bit_length()


def test_quantize(cfg, path, tmp_path):
    notes = []
    done = quantize(
        cfg, path, f'{tmp_path}/out/int8.onnx', 5, 100, note=notes.append
    )
    assert done.calibrated_on == 5 and done.in_float == []
    assert done.layers == 3 and done.scorings == 1
    assert done.weight_bits == default_weight_bits()
    assert 0 < done.score['mIoU'] <= 100 and done.scored_on == 'val'
    assert len(notes) == 2 and notes[0].startswith('in float: mIoU ')
    assert min(done.milliseconds) > 0 and done.shape == (128, 128)
    json.dumps(done.as_dict())
    found = score.score(cfg, load_exported(cfg, done.path), 'again')
    assert found == done.score
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['int8.onnx']


@pytest.mark.parametrize('least, runs', [(1, 2), (2, 3)])
def test_layers_stay_in_float(cfg, path, tmp_path, monkeypatch, least, runs):
    """The most sensitive ones, as few as it takes."""
    module = sys.modules['mmrep.deploy.quantize.quantize']

    def points(cfg, model, text, track):
        about = json.loads(model.file.about.get('quantized', '{}'))
        kept = len(about.get('in_float', range(3)))
        return dict(mIoU=50.0 if kept >= least else 40.0)

    monkeypatch.setattr(module, 'score', points)
    done = quantize(cfg, path, f'{tmp_path}/int8.onnx', 2, 0.5)
    assert done.in_float == list(done.sensitivity)[:least]
    assert done.scorings == runs and done.drop == 0
    about = ExportedFile(done.path).about
    assert json.loads(about['quantized'])['in_float'] == done.in_float


def test_what_does_not_hold_is_not_written(cfg, path, tmp_path, monkeypatch):
    module = sys.modules['mmrep.deploy.quantize.quantize']
    points = iter([50.0, 40.0, 40.0, 40.0])
    monkeypatch.setattr(module, 'score', lambda *args: dict(mIoU=next(points)))
    with pytest.raises(UsageError, match='loss of 0.5 points or less'):
        quantize(cfg, path, f'{tmp_path}/int8.onnx', 2, 0.5)
    assert [p.name for p in tmp_path.iterdir()] == ['float.onnx']


def test_calibration_images(cfg, shapes_root):
    images = sorted((shapes_root / 'images/training').iterdir())
    paths = calibration_paths(cfg, 4)
    assert paths == [str(images[i]) for i in (0, 4, 8, 12)]
    assert len(calibration_paths(cfg, 99)) == 16


@pytest.mark.parametrize('change', ['none', 'folder', 'broken', 'truncated'])
def test_wrong_calibration_images(cfg, path, tmp_path, shapes_root, change):
    data = tmp_path / 'data'
    shutil.copytree(shapes_root, data)
    set_data_root(cfg, str(data), LOADERS)
    images = sorted((data / 'images/training').iterdir())
    if change == 'none':
        cfg.train_dataloader = None
        text = 'must define train_dataloader'
    elif change == 'folder':
        shutil.rmtree(data / 'images/training')
        (data / 'images/training').mkdir()
        text = 'the calibration set.*must have images, but has none'
    elif change == 'broken':
        images[0].write_bytes(b'no image')
        text = f'{images[0]} is not a readable image'
    else:
        images[0].write_bytes(images[0].read_bytes()[:-40])
        text = f'calibration set cannot be read .{images[0]} is truncated'
    out = tmp_path / 'int8.onnx'
    with pytest.raises(UsageError, match=text):
        quantize(cfg, path, str(out), 3)
    assert not out.exists()


def test_no_room_for_temporary_files(path, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(UsageError, match=f'but {tmp_path} has 0 MB left'):
        FloatFile(path, str(tmp_path))


def test_no_runtime(cfg, path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime.quantization', None)
    with pytest.raises(UsageError, match='requirements/export.txt'):
        quantize(cfg, path, 'out.onnx')


def test_no_known_metric(cfg, path):
    cfg.val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mFscore'])
    with pytest.raises(UsageError, match='must give one of mIoU'):
        score.score(cfg, load_exported(cfg, path), '')
