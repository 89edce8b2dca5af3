import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmrep.deploy import build_model, load_model
from mmrep.deploy.export import check_sizes, export_onnx, export_program
from mmrep.deploy.exportable import (
    MatrixPool2d,
    OperatorNode,
    exportable,
    keep_operator,
    symbolic_resizing,
)
from mmrep.deploy.whole.metadata import describe_input
from mmrep.engine import load_config
from mmrep.errors import UsageError

SIZE = (64, 96)


@pytest.fixture
def cfg(small_segmentor):
    return load_config(str(small_segmentor[0]))


@pytest.fixture
def model(cfg, small_segmentor):
    return load_model(cfg, str(small_segmentor[1]), deploy=True)


@pytest.mark.parametrize('bins', [1, 2, 3, (3, 6), 7])
@pytest.mark.parametrize('size', [(1, 1), (4, 5), (7, 13), (16, 33)])
def test_matrix_pooling_is_adaptive_pooling(bins, size):
    x = torch.randn(2, 3, *size)
    expected = nn.functional.adaptive_avg_pool2d(x, bins)
    shape = (bins, bins) if isinstance(bins, int) else bins
    torch.testing.assert_close(MatrixPool2d(shape)(x), expected)


@pytest.mark.slow
def test_onnx(model, cfg, tmp_path):
    import onnx
    import onnxruntime

    metadata = describe_input(cfg, model.dataset_meta)
    x = torch.randn(3, 3, 80, 72)
    with torch.no_grad():
        expected = model.encode_decode(x, [dict(img_shape=(80, 72))] * 3)
    module = exportable(model)
    out = tmp_path / 'm.onnx'
    done = export_onnx(module, str(out), SIZE, metadata=metadata)
    assert [p.name for p in tmp_path.iterdir()] == ['m.onnx']
    assert len(done.differences) == 3
    assert all(d[0].relative < 1e-4 for d in done.differences.values())
    graph = onnx.load(str(out))
    assert {node.domain for node in graph.graph.node} == {''}
    assert [(o.domain, o.version) for o in graph.opset_import] == [('', 18)]
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param for d in dims] == ['batch', '', 'height', 'width']
    texts = {p.key: p.value for p in graph.metadata_props}
    assert json.loads(texts['classes'])[1] == 'disc'
    assert json.loads(texts['mean']) == [123.675, 116.28, 103.53]
    assert texts['channels'] == 'RGB'
    session = onnxruntime.InferenceSession(str(out))
    (found,) = session.run(None, {'image': x.numpy()})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('operator', ['lowered', 'node'])
def test_program(model, tmp_path, operator):
    module = exportable(model, 'backbone')
    done = export_program(module, f'{tmp_path}/m.pt2', SIZE, operator=operator)
    name = 'mmrep.depthwise_conv2d.default'
    assert done.operators.get(name, 0) == (4 if operator == 'node' else 0)
    assert all(d[0].relative < 1e-4 for d in done.differences.values())
    loaded = torch.export.load(f'{tmp_path}/m.pt2').module()
    x = torch.randn(1, 3, 96, 64)
    for found, expected in zip(loaded(x), module(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_differs_is_not_written(model, tmp_path):
    module = exportable(model, 'backbone')
    with pytest.raises(UsageError, match='more than the tolerance'):
        export_onnx(module, f'{tmp_path}/m.onnx', SIZE, False, tolerance=1e-12)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_full_disk(model, tmp_path, monkeypatch):
    import onnx

    def write(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module = exportable(model, 'backbone')
    monkeypatch.setattr(onnx, 'save', write)
    monkeypatch.setattr(Path, 'write_bytes', write)
    for export, name in ((export_onnx, 'm.onnx'), (export_program, 'm.pt2')):
        with pytest.raises(UsageError, match='written: No space left on'):
            export(module, f'{tmp_path}/{name}', SIZE, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_opset_that_the_exporter_does_not_reach(model, tmp_path, monkeypatch):
    import onnx

    def check_model(*args, **kwargs):
        raise onnx.checker.ValidationError('No Op registered for Gelu\n\nx')

    monkeypatch.setattr(onnx.checker, 'check_model', check_model)
    module = exportable(model, 'backbone')
    with pytest.raises(UsageError, match='Gelu.; nothing .* --opset 18'):
        export_onnx(module, f'{tmp_path}/m.onnx', SIZE, False)
    assert list(tmp_path.iterdir()) == []


def test_parts(model, cfg):
    with pytest.raises(UsageError, match='must be backbone or segmentor, got'):
        exportable(model, 'head')
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.backbone(x)
    module = exportable(model, 'backbone')
    for found, feature in zip(module(x), expected, strict=True):
        torch.testing.assert_close(found, feature)
    assert module.output_names(x) == [f'backbone_{i}' for i in range(4)]


def test_operator_nodes_compute_the_same(model):
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.backbone(x)
        assert keep_operator(model.backbone) == 4
        found = model.backbone(x)
    kinds = [type(m) for m in model.backbone.modules()]
    assert kinds.count(OperatorNode) == 4
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_resizing_keeps_sizes_free(model):
    """MMSegmentation's own asks for integers where corners are aligned."""
    head = model.decode_head
    head.align_corners = True
    free = torch.export.Dim.DYNAMIC

    class Resized(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, maps):
            return self.head(maps)

    maps = [
        torch.randn(2, c, 32 // 2**i, 48 // 2**i)
        for i, c in enumerate(head.in_channels)
    ]
    shapes = ([{0: free} for _ in maps],)
    module = Resized()
    with symbolic_resizing(module), torch.no_grad():
        program = torch.export.export(module, (maps,), dynamic_shapes=shapes)
        torch.testing.assert_close(program.module()(maps), module(maps))


def test_opset_and_operator_are_checked(model, tmp_path):
    module = exportable(model, 'backbone')
    for opset in (11, 99):
        with pytest.raises(UsageError, match=f'opset must be 18.*got {opset}'):
            export_onnx(module, f'{tmp_path}/m.onnx', opset=opset)
    with pytest.raises(ValueError, match='operator must be'):
        export_program(module, f'{tmp_path}/m.pt2', operator='both')


def test_what_onnx_cannot_be_written_for(model, tmp_path, monkeypatch):
    module = exportable(model, 'backbone')
    monkeypatch.setattr('mmrep.deploy.export.LARGEST', 2**10)
    with pytest.raises(UsageError, match='weights take 0.00 GB.*a .pt2 has'):
        export_onnx(module, f'{tmp_path}/m.onnx')
    for name in ('onnx', 'onnxscript'):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(UsageError, match=f'needs {name}; pip install'):
                export_onnx(module, f'{tmp_path}/m.onnx')
    assert list(tmp_path.iterdir()) == []


def test_sizes_of_the_check():
    sizes = check_sizes((128, 128), True)
    assert len(set(sizes)) == 3 and {s[0] for s in sizes} == {1, 2}
    assert any(h % 32 and w % 32 for _, h, w in sizes)
    assert check_sizes((64, 96), False) == [(1, 64, 96)] * 3


@pytest.mark.slow
def test_input_of_one_channel(grey_config, tmp_path):
    cfg = load_config(str(grey_config))
    module = exportable(build_model(cfg), 'backbone')
    done = export_program(module, f'{tmp_path}/m.pt2', SIZE, dynamic=False)
    assert set(done.differences) == {f'1x1x64x96 #{i}' for i in (1, 2, 3)}
    known = describe_input(cfg, {})
    assert (known['channels'], known['mean']) == ('1', '[46.4]')
