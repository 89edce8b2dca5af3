"""Whole models: the graph that is exported, and the file, against the model.

The heads are MMDetection's and MMSegmentation's own, on a small RepLKNet.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from sweep import sweep
from torch import nn

from mmrep.deploy import build_model, to_deploy_form
from mmrep.deploy.export import export_onnx, export_program
from mmrep.deploy.runtime import ExportedFile
from mmrep.deploy.runtime.parts import PARTS, cost_of_parts
from mmrep.deploy.whole import whole_model
from mmrep.deploy.whole.boxes import paste
from mmrep.deploy.whole.detections import (
    Found,
    _check_left,
    _mask_difference,
    _pair,
)
from mmrep.deploy.whole.doubts import near_cut, near_suppression
from mmrep.deploy.whole.metadata import (
    describe_input,
    describe_whole,
    model_of,
)
from mmrep.engine import load_config
from mmrep.errors import UsageError

BACKBONE = """
_base_ = 'BASE'
channels = [8, 12, 16, 20]
backbone = dict(
    _delete_=True,
    type='mmrep.RepLKNet',
    arch=dict(channels=channels, depths=(1, 1, 1, 1),
              kernel_sizes=(13, 9, 7, 5)),
    out_indices=(0, 1, 2, 3),
)
"""
NECK = 'neck=dict(in_channels=channels, out_channels=64)'
DENSE = 'bbox_head=dict(num_classes=3, in_channels=64, feat_channels=64, '
DENSE += 'stacked_convs=1)'
TEST = 'test_cfg=dict(score_thr=0.0, nms_pre=60)'
RPN = 'rpn_head=dict(in_channels=64, feat_channels=64)'
BOX = 'dict(in_channels=64, fc_out_channels=64, num_classes=3)'
MASK = 'mask_roi_extractor=dict(out_channels=64), mask_head=dict(\
num_convs=1, in_channels=64, conv_out_channels=64, num_classes=3)'
ROI = (
    f'roi_head=dict(bbox_roi_extractor=dict(out_channels=64), bbox_head={BOX}'
)
CASCADE = f"""roi_head=dict(
    bbox_roi_extractor=dict(out_channels=64),
    bbox_head=[dict(
        type='Shared2FCBBoxHead', in_channels=64, fc_out_channels=64,
        roi_feat_size=7, num_classes=3, reg_class_agnostic=agnostic,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder',
                        target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='CrossEntropyLoss'),
        loss_bbox=dict(type='L1Loss'),
    ) for agnostic in (True, False, False)], {MASK})"""
RCNN = 'test_cfg=dict(rpn=dict(nms_pre=40, max_per_img=30), '
RCNN += 'rcnn=dict(score_thr=0.0))'
MODELS = 'mmdet::_base_/models/'
# mmengine looks for MMSegmentation under the name of upstream's package
SEG = f'{Path(mmseg.__file__).parent}/.mim/configs/'
# name: what it inherits from, and what is other
DETECTORS = {
    'retinanet': (f'{MODELS}retinanet_r50_fpn.py', f'{DENSE}, {TEST}'),
    'fcos': (
        'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        f'{DENSE}, {TEST}',
    ),
    'atss': ('mmdet::atss/atss_r50_fpn_1x_coco.py', f'{DENSE}, {TEST}'),
    'faster': (f'{MODELS}faster-rcnn_r50_fpn.py', f'{RPN}, {ROI}), {RCNN}'),
    'mask': (
        f'{MODELS}mask-rcnn_r50_fpn.py',
        f'{RPN}, {ROI}, {MASK}), {RCNN}',
    ),
    'cascade': (
        f'{MODELS}cascade-mask-rcnn_r50_fpn.py',
        f'{RPN}, {CASCADE}, {RCNN}',
    ),
}
HEAD = 'in_channels=channels, channels=16, num_classes=4'
SEGMENTORS = {
    'upernet': (
        f'{SEG}_base_/models/upernet_r50.py',
        f'pretrained=None, decode_head=dict({HEAD}), auxiliary_head=None',
    ),
    'segformer': (
        f'{SEG}_base_/models/segformer_mit-b0.py',
        f'decode_head=dict({HEAD})',
    ),
    'segnext': (
        f'{SEG}segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
        'decode_head=dict(in_channels=[12, 16, 20], channels=16, '
        'ham_channels=16, num_classes=7, norm_cfg=dict(num_groups=4), '
        'ham_kwargs=dict(MD_R=4, rand_init=False))',
    ),
    'deeplabv3plus': (
        f'{SEG}_base_/models/deeplabv3plus_r50-d8.py',
        'pretrained=None, auxiliary_head=None, decode_head=dict('
        'in_channels=20, channels=16, c1_in_channels=8, c1_channels=8, '
        'num_classes=4)',
    ),
}


def make_config(folder, name):
    base, changes = {**DETECTORS, **SEGMENTORS}[name]
    if name in DETECTORS:
        changes = f'{NECK}, {changes}'
    text = BACKBONE.replace('BASE', base)
    text += f'model = dict(backbone=backbone, {changes})\n'
    text += "del channels, backbone\ndefault_scope = 'SCOPE'\n".replace(
        'SCOPE', 'mmdet' if name in DETECTORS else 'mmseg'
    )
    path = folder / f'{name}.py'
    path.write_text(text)
    return load_config(str(path))


@pytest.fixture
def make(tmp_path, randomise):
    def make(name):
        cfg = make_config(tmp_path, name)
        model = randomise(build_model(cfg))
        if name in SEGMENTORS:  # a new head sees no difference
            nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
        return cfg, model

    return make


def check_graph(module, size, batch):
    """The module against the model; both, for more checks."""
    image = module.example(size, batch)
    with torch.no_grad():
        expected = module.expected(image)
        found = dict(zip(module.names, module(image), strict=True))
    differences = module.compare('x', expected, found, 1e-4)
    assert all(d.max_abs < 1e-3 for d in differences)
    return expected, found


@pytest.mark.parametrize('input', sweep(['picture', 'normalised']))
@pytest.mark.parametrize('name', [*DETECTORS, *SEGMENTORS])
def test_graph_is_the_model(make, name, input):
    _, model = make(name)
    module = whole_model(model, input)
    for size, batch in (((64, 96), 1), ((75, 53), 2)):
        expected, found = check_graph(module, size, batch)
        if name in DETECTORS:
            assert found['dets'].shape == (batch, 100, 5)
            assert found['labels'].shape == (batch, 100)
            assert min(len(f.labels) for f in expected['found']) > 10
            assert ('masks' in found) == (name in ('mask', 'cascade'))
        else:
            assert found['labels'].shape == (batch, *size)


@pytest.mark.parametrize('name', ['fcos', 'mask', 'upernet'])
def test_one_class(tmp_path, randomise, name):
    cfg = make_config(tmp_path, name)
    heads = dict(cfg.model, **cfg.model.get('roi_head', {}))
    for key in ('bbox_head', 'mask_head'):
        if key in heads:
            heads[key].num_classes = 1
    if name == 'upernet':
        heads['decode_head'].update(out_channels=1, num_classes=2)
    model = randomise(build_model(cfg))
    if name == 'upernet':
        nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
        nn.init.zeros_(model.decode_head.conv_seg.bias)
    expected, found = check_graph(whole_model(model), (75, 53), 2)
    if name == 'upernet':
        assert found['labels'].unique().tolist() == [0, 1]
    else:
        assert min(len(f.labels) for f in expected['found']) > 10
        assert found['labels'].max() == 0


def test_pictures_of_one_channel(grey_config):
    module = whole_model(build_model(load_config(str(grey_config))))
    _, found = check_graph(module, (64, 72), 1)
    assert found['labels'].shape == (1, 64, 72) and module.channels == 1


@pytest.mark.parametrize('input', ['picture-rgb', 'float', 'float-rgb'])
@pytest.mark.parametrize('name', ['retinanet', 'upernet'])
def test_kinds_of_pictures(make, name, input):
    cfg, model = make(name)
    reference = whole_model(model)
    picture = reference.example((64, 72))
    module = whole_model(model, input)
    image = module.input_of(picture)
    assert image.is_floating_point() == input.startswith('float')
    assert (image[:, 0] == picture[:, 2]).all() == input.endswith('-rgb')
    with torch.no_grad():
        found = module(image)
        for value, expected in zip(found, reference(picture), strict=True):
            torch.testing.assert_close(value, expected)
        found = dict(zip(module.names, found, strict=True))
        module.compare('x', module.expected(image), found, 1e-4)
    about = describe_whole(cfg, {}, module)
    assert about['input'] == input
    assert about['channels'] == ('RGB' if input.endswith('-rgb') else 'BGR')


def test_pictures_of_four_channels_have_no_order(make):
    _, model = make('retinanet')
    model.backbone.stem[0].conv = nn.Conv2d(4, 8, 3, 2, 1)
    with pytest.raises(UsageError, match='3 channels, but .* takes 4'):
        whole_model(model, 'picture-rgb')


@pytest.mark.parametrize('name', ['retinanet', 'mask'])
def test_detections_are_padded(make, name):
    """Where nothing is found all is zero, and the label -1."""
    _, model = make(name)
    module = whole_model(model)
    module.rules['score_thr'] = 1.0
    expected, found = check_graph(module, (64, 72), 2)
    assert [len(f.labels) for f in expected['found']] == [0, 0]
    assert (found['dets'] == 0).all() and (found['labels'] == -1).all()
    if name == 'mask':
        assert found['masks'].shape == (2, 100, 64, 72)
        assert not found['masks'].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'atss',
        'retinanet',
        'faster',
        'mask',
        'segformer',
        'segnext',
        'deeplabv3plus',
    ],  # fmt: skip
)
def test_onnx(make, tmp_path, name):
    """A file per kind of head; those of the configs are tested elsewhere."""
    import onnx

    cfg, model = make(name)
    module = whole_model(model, masks='raw') if name == 'mask' else (
        whole_model(model)
    )  # fmt: skip
    metadata = describe_whole(cfg, dict(classes=['a', 'b', 'c']), module)
    done = export_onnx(
        module, f'{tmp_path}/m.onnx', (64, 96), metadata=metadata
    )
    assert len(done.differences) == 3
    graph = onnx.load(f'{tmp_path}/m.onnx')
    assert {node.domain for node in graph.graph.node} == {''}
    assert [o.name for o in graph.graph.output] == list(module.names)
    if name == 'mask':
        kinds = {node.op_type for node in graph.graph.node}
        assert {'NonMaxSuppression', 'RoiAlign'} <= kinds
        costs = cost_of_parts(f'{tmp_path}/m.onnx', (75, 64), 2)
        assert tuple(costs) == ('whole', *PARTS)
        parts = [costs[part] for part in PARTS]
        assert min(parts) > 0 and sum(parts) < 1.1 * costs['whole']
    texts = {p.key: p.value for p in graph.metadata_props}
    assert texts['channels'] == 'BGR' and texts['input'] == 'picture'
    assert texts['model'] == model_of(cfg)
    assert json.loads(texts['classes']) == ['a', 'b', 'c']
    if find_spec('openvino'):
        file = ExportedFile(f'{tmp_path}/m.onnx', 'openvino')
        image = module.example((75, 53), 2)
        expected = module.expected(image)
        module.compare('OpenVINO', expected, file.run(image), 1e-4)


@pytest.mark.slow
def test_program(make, tmp_path):
    _, model = make('faster')
    done = export_program(
        whole_model(model), f'{tmp_path}/m.pt2', (64, 96), dynamic=False
    )
    assert done.operators['mmrep.nms_mask.default'] == 2
    assert done.operators['mmrep.roi_align.default'] == 4


def test_windows_at_any_shape(tmp_path, monkeypatch):
    """In a map of one window, the number of windows would become fixed."""

    def export(module, inputs, **options):
        raise RuntimeError(f'traced with {tuple(inputs[0].shape)}')

    monkeypatch.setattr(torch.export, 'export', export)
    model = build_model(load_config('upernet_wbmm-tiny_camvid'))
    module = whole_model(to_deploy_form(model))
    with pytest.raises(UsageError, match=r'traced with \(2, 3, 256, 256\)'):
        export_onnx(module, str(tmp_path / 'm.onnx'), (64, 96))


def test_a_model_that_finds_nothing(make):
    _, model = make('mask')
    model.roi_head.test_cfg.score_thr = 1.0
    module = whole_model(model)
    image = module.example((64, 64))
    with torch.no_grad():
        found = dict(zip(module.names, module(image), strict=True))
        assert module.compare('x', module.expected(image), found, 1e-4) == []


def test_weights_that_are_not_finite(make, tmp_path):
    _, model = make('fcos')
    model.bbox_head.conv_cls.weight.data[0] = float('nan')
    for export, suffix in ((export_onnx, 'onnx'), (export_program, 'pt2')):
        with pytest.raises(UsageError, match='finite, but head.conv_cls.wei'):
            export(whole_model(model), f'{tmp_path}/m.{suffix}', (64, 64))
    assert not list(tmp_path.glob('*m.*'))


def test_random_outputs_are_refused(make, tmp_path):
    _, model = make('segnext')
    module = whole_model(model)
    model.decode_head.hamburger.ham.rand_init = True
    with pytest.raises(UsageError, match='different each time for the same'):
        export_onnx(module, str(tmp_path / 'model.onnx'), size=(64, 96))


def test_unsupported_models(make):
    _, model = make('cascade')
    model.roi_head.test_cfg.nms = dict(type='soft_nms')
    with pytest.raises(UsageError, match='CascadeRoIHead .* NMS soft_nms'):
        whole_model(model)
    for key, value in (('offset', 1), ('score_threshold', 0.2)):
        _, model = make('mask')
        model.roi_head.test_cfg.nms[key] = value
        with pytest.raises(UsageError, match=f'settings of its NMS.*{key}'):
            whole_model(model)
    _, model = make('fcos')
    model.bbox_head.test_cfg.min_bbox_size = 4
    with pytest.raises(UsageError, match='FCOSHead .* with a min_bbox_size'):
        whole_model(model)
    _, model = make('mask')
    model.roi_head.mask_head.__class__ = type(
        'PointHead', (nn.Module,), dict(predict_by_feat=None)
    )
    with pytest.raises(UsageError, match='PointHead .* own predict_by_feat'):
        whole_model(model)
    _, model = make('atss')
    model.bbox_head.__class__ = type(
        'OwnHead', (type(model.bbox_head),), dict(predict_by_feat=None)
    )
    with pytest.raises(UsageError, match='OwnHead .* own predict_by_feat'):
        whole_model(model)
    _, model = make('upernet')
    model.decode_head.__class__ = type(
        'OwnHead', (type(model.decode_head),), dict(predict=None)
    )
    with pytest.raises(UsageError, match='OwnHead cannot .* own predict'):
        whole_model(model)
    with pytest.raises(UsageError, match='whole Linear cannot be exported'):
        whole_model(nn.Linear(1, 1))


STOCK = {
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco': 'PanopticFPN.*own predict;',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco': 'Mask2Former.*predict;',
    'detr/detr_r50_8xb2-150e_coco': 'whole DETR cannot',
    'solo/solo_r50_fpn_1x_coco': 'whole SOLO cannot',
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance': 'whole CondInst',
    'yolox/yolox_s_8xb8-300e_coco': 'YOLOXHead.*own predict_by_feat',
    'rtmdet/rtmdet-ins_s_8xb32-300e_coco': 'RTMDetInsSepBNHead.*own predict',
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco': 'EmbeddingRPNHead.*own predict',
    'htc/htc_r50_fpn_1x_coco': 'HybridTaskCascadeRoIHead.*own predict',
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco': 'PointRendRoIHead.*own',
    'fast_rcnn/fast-rcnn_r50_fpn_1x_coco': 'FastRCNN.*missing rpn_head',
    'seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1': (
        'Shared2FCBBoxHead.*its SeesawLoss'
    ),
}


@pytest.mark.parametrize('name', STOCK)
def test_stock_detectors_that_are_refused(tmp_path, name):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = 'mmdet::{name}.py'\n")
    model = build_model(load_config(str(path)), meta=True)
    with pytest.raises(UsageError, match=STOCK[name]):
        whole_model(model)


@pytest.mark.parametrize(
    'name, reason',
    [
        ('point_rend/pointrend_r50_4xb4-160k', 'whole CascadeEncoderDecoder'),
        ('maskformer/maskformer_r50-d32_8xb2-160k', 'MaskFormerHead.*own'),
    ],
)
def test_stock_segmentors_that_are_refused(tmp_path, name, reason):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{SEG}{name}_ade20k-512x512.py'\n")
    model = build_model(load_config(str(path)), meta=True)
    with pytest.raises(UsageError, match=reason):
        whole_model(model)


def test_pasted_masks_are_mmdetections():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    masks = torch.rand(5, 28, 28)
    corners = torch.rand(5, 2, 2).sort(1).values * torch.tensor([90, 60])
    boxes = corners.flatten(1) + torch.tensor([-5, -5, 12, 12])
    found = paste(masks, boxes, (60, 90))
    expected, _ = _do_paste_mask(masks[:, None], boxes, 60, 90, False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


RULES = dict(score_thr=0.05, max_per_img=4, nms=dict(iou_threshold=0.5))


def detections(*rows):
    rows = torch.tensor(rows).reshape(-1, 6)
    return Found(rows[:, :4], rows[:, 4], rows[:, 5].long())


def agree(expected, found, rules=RULES, doubts=()):
    worst, _, both = _pair(expected, found, 1e-4)
    _check_left('x', both, rules, torch.tensor(doubts).reshape(-1, 4))
    return worst


def test_what_counts_as_the_same():
    box = [0.0, 0.0, 10.0, 10.0, 0.9, 1.0]
    other = [20.0, 20.0, 30.0, 40.0, 0.3, 0.0]
    both = detections(box, other)
    near = detections(other, [0.0, 0.0, 10.005, 10.0, 0.90005, 1.0])
    worst = agree(both, near)
    assert worst['boxes'] == pytest.approx(5e-3, rel=1e-2)
    assert worst['scores'] == pytest.approx(5e-5, rel=1e-2)
    for wrong in (
        [0.0, 0.0, 10.02, 10.0, 0.9, 1.0],
        [0.0, 0.0, 10.0, 10.0, 0.9002, 1.0],
        [0.0, 0.0, 10.0, 10.0, 0.9, 2.0],
    ):
        with pytest.raises(UsageError, match='in only one of the two outputs'):
            agree(both, detections(other, wrong))
    with pytest.raises(UsageError, match='of class 0, appears in only one'):
        agree(both, detections(box))
    # at a threshold it may be there or not
    edge = detections(box, [20.0, 20.0, 30.0, 40.0, 0.050005, 0.0])
    agree(edge, detections(box))
    # far below it is no excuse: an FCOS compares scores before centerness
    below = detections(box, [20.0, 20.0, 30.0, 40.0, 0.02, 0.0])
    for pair in ((below, detections(box)), (detections(box), below)):
        with pytest.raises(UsageError, match='score 0.02000 of class 0'):
            agree(*pair)
    rival = [0.0, 0.0, 10.0, 20.0001, 0.8, 1.0]
    agree(detections(box, rival), detections(box))


def test_what_hangs_on_the_last_digits():
    box = [0.0, 0.0, 10.0, 10.0, 0.9, 1.0]
    other = [20.0, 20.0, 30.0, 40.0, 0.8, 0.0]
    both = detections(box, other)
    # of a proposal that the RPN makes or not
    agree(both, detections(box), doubts=[19.0, 22.0, 30.0, 41.0])
    with pytest.raises(UsageError, match='of class 0, appears in only one'):
        agree(both, detections(box), doubts=[40.0, 40.0, 50.0, 50.0])
    # the places are taken, so another one comes in
    last = [50.0, 0.0, 60.0, 10.0, 0.3, 0.0]
    rules = dict(RULES, max_per_img=2)
    changed = detections(box, last)
    agree(both, changed, rules, [19.0, 22.0, 30.0, 41.0])
    with pytest.raises(UsageError, match='score 0.80000 .* in only one'):
        agree(both, changed, rules)
    with pytest.raises(UsageError, match='score 0.30000 .* in only one'):
        agree(both, changed, RULES, [19.0, 22.0, 30.0, 41.0])


def test_doubtful_decisions():
    scores = torch.tensor([0.9, 0.8, 0.800001, 0.5, -1.0])
    assert near_cut(scores, 2).tolist() == [0, 1, 1, 0, 0]
    for count in (1, 3, 4, 5):
        assert not near_cut(scores, count).any()
    boxes = torch.tensor([
        [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 14.2858], [0, 0, 10, 9],
        [0.0, 0.0, 9.0, 10.0],
    ])  # fmt: skip
    scores = torch.tensor([0.9, 0.8, 0.5, 0.899999])
    labels = torch.zeros(4)
    kept = torch.tensor([0])
    found = near_suppression(boxes, scores, labels, kept, 0.7)
    assert found.tolist() == [False, True, False, True]
    labels[1] = 1
    found = near_suppression(boxes, scores, labels, kept, 0.7)
    assert found.tolist() == [False, False, False, True]


def test_doubtful_proposals(make):
    _, model = make('faster')
    module = whole_model(model)
    image = module.example((64, 96), 2)
    before = [len(boxes) for boxes in module.doubtful_candidates(image)]
    nn.init.zeros_(model.rpn_head.rpn_cls.weight)
    after = module.doubtful_candidates(image)
    # all anchors of a place have the same score as those of the next
    for few, boxes in zip(before, after, strict=True):
        assert few < 20 < 40 < len(boxes) and boxes.shape[1:] == (4,)


@pytest.mark.parametrize('name', ['fcos', 'retinanet'])
def test_doubtful_candidates_of_one_stage(make, name):
    _, model = make(name)
    module = whole_model(model)
    image = module.example((64, 96), 2)
    _, scores, _ = module.candidates(
        module.neck(module.backbone(module.prepare(image))), (64, 96)
    )
    rules = module.head.test_cfg
    rules.nms_pre = 1000
    rules.score_thr = 2.0
    counts = [len(boxes) for boxes in module.doubtful_candidates(image)]
    assert counts == [0, 0]
    if name == 'fcos':  # whose centerness changes scores, and boxes are small
        return
    rules.score_thr = scores[1].max().item()
    assert len(module.doubtful_candidates(image)[1]) >= 1
    rules.score_thr = 0.0
    few = module.doubtful_candidates(image)
    nn.init.zeros_(model.bbox_head.retina_cls.weight)
    # all anchors of a place have the same score as those of the next
    many = module.doubtful_candidates(image)
    for one, other in zip(few, many, strict=True):
        assert len(one) < 20 < len(other) and other.shape[1:] == (4,)


def test_masks_must_agree():
    box = detections([0.0, 0.0, 10.0, 10.0, 0.9, 1.0])
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, :35] = True
    other = mask.clone()
    other[0, 35, :2] = True

    def miss(found, doubts=None):
        same = [box._replace(masks=x) for x in (mask, found)]
        return _mask_difference('x', same, lambda: doubts)

    assert miss(mask) == 0
    doubts = torch.zeros_like(mask)
    doubts[0, 35] = True
    assert miss(other, doubts) == 0
    with pytest.raises(UsageError, match='IoU of 0.998.*less than 0.999'):
        miss(other, torch.zeros_like(mask))
    other[0, 20, :2] = False  # where the model is sure
    with pytest.raises(UsageError, match='IoU of 0.998.*less than 0.999'):
        miss(other, doubts)


@pytest.mark.parametrize('name', sweep(['mask', 'cascade']))
def test_pixels_at_the_threshold_may_differ(make, name):
    _, model = make(name)
    module = whole_model(model)
    image = module.example((64, 72), 2)

    def set_logits(value):
        for _, head in module.mask_stages:
            nn.init.zeros_(head.conv_logits.weight)
            nn.init.constant_(head.conv_logits.bias, value)

    def compare(logit):
        with torch.no_grad():
            set_logits(-logit)
            found = dict(zip(module.names, module(image), strict=True))
            set_logits(logit)
            expected = module.expected(image)
        assert expected['found'][1].masks.sum() > 100 + found['masks'].sum()
        return module.compare('x', expected, found, 1e-4)

    assert compare(1e-6)[-1].name == 'masks'
    with pytest.raises(UsageError, match='mask of the x input has an IoU'):
        compare(1e-3)


def test_pixels_of_thin_boxes_may_differ(make):
    """A box may be off by a little, which moves the edge of its mask."""
    _, model = make('mask')
    module = whole_model(model)
    image = module.example((64, 72))
    ramp = torch.linspace(0, 1, 28).expand(1, 1, 28, 28)
    module.segment = lambda *args: ramp
    one, other = (
        detections([x, 10.0, x + 2.2, 30.0, 0.9, 0.0]) for x in (9.401, 9.399)
    )
    assert not module.doubtful_pixels(image, 0, (one, one), 1e-4).any()
    found = module.doubtful_pixels(image, 0, (one, other), 1e-4)
    assert found.nonzero()[:, 2].tolist() == [10] * 20


def test_metadata(small_segmentor):
    cfg = load_config(str(small_segmentor[0]))
    module = whole_model(build_model(cfg))
    text = describe_whole(cfg, {}, module)
    assert text['model'] == 'EncoderDecoder, RepLKNet, UPerHead, 7 classes'
    assert json.loads(text['scale']) == [128, 128]
    assert text['keep_ratio'] == 'true' and text['divisor'] == '1'
    assert np.allclose(json.loads(text['mean']), [123.675, 116.28, 103.53])
    assert json.loads(text['decisions'])['align_corners'] is False
    assert 'other_steps' not in text
    steps = cfg.test_dataloader.dataset.pipeline
    steps[1].scale = 96
    steps.insert(2, dict(type='mmseg.Pad', size_divisor=32))
    cfg.model.data_preprocessor.update(bgr_to_rgb=False, rgb_to_bgr=True)
    text = describe_whole(cfg, {}, module)
    assert text['scale'] == '[96, 96]' and text['other_steps'] == '["Pad"]'
    assert describe_input(cfg, {})['channels'] == 'RGB'
    module.channels = 4  # of a backbone that does not call it in_channels
    assert describe_whole(cfg, {}, module)['channels'] == '4'
