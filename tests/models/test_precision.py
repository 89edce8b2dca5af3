"""Inference in 16 bits."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.deploy import build_model, to_deploy_form
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.models import precision
from mmrep.models.precision import check_precision, use_half
from mmrep.registry import MODELS

ROOT = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def segmentor(small_segmentor, randomise):
    return randomise(build_model(load_config(str(small_segmentor[0]))))


def detector(name, randomise):
    cfg = load_config(f'{ROOT}/{name}.py')
    cfg.model.backbone.arch.update(
        depths=(1, 1, 1, 1), kernel_sizes=(13, 9, 7, 5)
    )
    return randomise(build_model(cfg))


def types_of(model):
    """The types in which the layers of a model were called."""
    found = {}

    def note(name):
        def hook(module, args, kwargs, out):
            value = next(iter(args), None)
            while isinstance(value, (tuple, list)):
                value = value[0]
            found[name] = getattr(value, 'dtype', None)

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(note(name), with_kwargs=True)
    return found


@pytest.mark.parametrize('deploy', [False, True])
def test_segmentor(segmentor, deploy):
    if deploy:
        to_deploy_form(segmentor)
    half = use_half(copy.deepcopy(segmentor), 'bf16')
    types = types_of(half)
    x = torch.randn(1, 3, 64, 96)
    metas = [dict(img_shape=(64, 96))]
    with torch.no_grad():
        expected = segmentor.encode_decode(x, metas)
        found = half.encode_decode(x, metas)
    assert found.dtype == torch.float32
    assert types['backbone.stem.0.conv'] == torch.bfloat16
    assert types['decode_head.lateral_convs.0.conv'] == torch.bfloat16
    assert types['decode_head.conv_seg'] == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert 1e-4 < error < 0.05
    for module in half.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_var.dtype == torch.float32


@pytest.mark.parametrize(
    'name, last, hidden',
    [
        (
            'fcos_replknet-tiny_shapes',
            ['bbox_head.conv_cls', 'bbox_head.conv_reg'],
            'bbox_head.cls_convs.1.conv',
        ),
        (
            'cascade-mask-rcnn_replknet-tiny_shapes',
            ['rpn_head.rpn_reg', 'roi_head.bbox_roi_extractor.0']
            + ['roi_head.bbox_head.2.fc_reg', 'roi_head.mask_head.0.upsample'],
            'rpn_head.rpn_conv',
        ),
    ],
)
def test_detectors(randomise, name, last, hidden):
    model = use_half(detector(name, randomise), 'bf16')
    types = types_of(model)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    from mmdet.structures import DetDataSample

    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0)
        )
    )
    with torch.no_grad():
        (out,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    assert len(out.pred_instances)
    assert out.pred_instances.bboxes.dtype == torch.float32
    assert out.pred_instances.scores.dtype == torch.float32
    assert {types[x] for x in last} == {torch.float32}
    assert types[hidden] == types['neck'] == torch.bfloat16
    # boxes are multiplied by these
    scales = [m for m in model.modules() if type(m).__name__ == 'Scale']
    assert all(m.scale.dtype == torch.float32 for m in scales)


def test_wrapped_and_backbone_alone(segmentor, tiny_arch):
    tta = MODELS.build(dict(type='mmseg.SegTTAModel', module=segmentor))
    use_half(tta, 'bf16')
    assert segmentor.backbone.stem[0].conv.weight.dtype == torch.bfloat16
    net = MODELS.build(dict(type='mmrep.RepLKNet', arch=tiny_arch)).eval()
    maps = use_half(net, 'bf16')(torch.randn(1, 3, 64, 64))
    assert {m.dtype for m in maps} == {torch.bfloat16}


def test_without_instructions(segmentor, monkeypatch):
    x = torch.randn(1, 3, 64, 64)
    seen = []
    convert = precision._ByWayOfFp32.__torch_function__

    def note(self, func, *args):
        seen.append(func)
        return convert(self, func, *args)

    monkeypatch.setattr(precision._ByWayOfFp32, '__torch_function__', note)
    monkeypatch.setattr(precision, '_has_instructions', lambda dtype: False)
    half = use_half(copy.deepcopy(segmentor), 'bf16')
    with torch.no_grad():
        expected = segmentor(x, mode='tensor')
        found = half(x, mode='tensor')
        assert F.conv2d in seen
        assert 0 < (found - expected).norm() < 0.05 * expected.norm()
        # an error ends it too
        with pytest.raises(RuntimeError):
            half(torch.randn(1, 5, 64, 64), mode='tensor')
        seen.clear()
        F.conv2d(x, torch.randn(3, 3, 1, 1))
    assert not seen


def test_sums_by_way_of_fp32():
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(4, 8, 3, 3)
    half = x.bfloat16(), weight.bfloat16()
    with precision._ByWayOfFp32():
        found = F.conv2d(*half, padding=1)
    expected = F.conv2d(half[0].float(), half[1].float(), padding=1)
    assert found.dtype == torch.bfloat16
    assert found.equal(expected.bfloat16())


def test_unknown_parts(segmentor):
    segmentor.encoder = nn.Linear(2, 2)
    with pytest.raises(UsageError, match='EncoderDecoder also has encoder'):
        use_half(segmentor, 'bf16')


def test_device(monkeypatch):
    with pytest.raises(ValueError, match="got 'int8'"):
        check_precision('int8', 'cpu')
    monkeypatch.setattr(precision, '_has_instructions', lambda dtype: False)
    assert 'no instructions for bf16' in check_precision('bf16', 'cpu')
    monkeypatch.setattr(precision, '_has_instructions', lambda dtype: True)
    assert check_precision('bf16', 'cpu') is None

    def missing(*args, **kwargs):
        raise RuntimeError('"conv2d" not implemented for Half\nframes')

    monkeypatch.setattr(F, 'conv2d', missing)
    with pytest.raises(UsageError, match='cpu cannot compute in fp16'):
        check_precision('fp16', 'cpu')
