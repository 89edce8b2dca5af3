"""Counts by hand, and the counts that papers publish."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config
from sweep import sweep
from torch import nn

from mmrep.analysis import ValuesNeeded, count
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.models import RepLKNet, UniRepLKNet
from mmrep.ops import DepthwiseConv2d

CONFIGS = Path(__file__).parents[2] / 'configs'


def test_counts_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    ).eval()
    found = count(model, (16, 12))
    positions = 8 * 6
    assert found.flops == (
        positions * (3 * 8 * 9 + 8 * 25 + 8 * 4 * 2 * 2) + 4 * 10
    )
    assert found.params == (
        3 * 8 * 9 + 8 + 16 + 8 * 25 + 8 * 4 * 4 + 4 + 4 * 10 + 10
    )
    assert found.to_dict() == dict(
        params=found.params,
        flops=found.flops,
        parts=dict(backbone=dict(params=found.params, flops=found.flops)),
    )


@pytest.mark.parametrize(
    'device, backend', [('cpu', 'fft'), ('cpu', 'native'), ('meta', 'auto')]
)
def test_operator_counts_as_a_convolution(device, backend):
    conv = DepthwiseConv2d(
        4, 4, (13, 7), padding=(6, 3), groups=4, backend=backend
    )
    model = nn.Sequential(nn.Conv2d(3, 4, 1), conv).eval().to(device)
    found = count(model, (20, 24))
    assert found.flops == 20 * 24 * (3 * 4 + 4 * 13 * 7)


# The exact numbers follow from the architecture (convolutions' weights, a
# bias for each merged kernel, two parameters a channel for each BN).
COUNTS = {
    '31B': (78_837_120, 78_500_224),
    '31L': (171_130_944, 170_625_600),
    'XL': (333_382_656, 333_346_560),
}


@pytest.mark.parametrize('arch', sweep(COUNTS))
def test_backbone_parameters_are_exact(arch):
    train, deploy = COUNTS[arch]
    with torch.device('meta'):
        model = RepLKNet(arch).eval()
    assert count(model, (64, 64)).params == train
    model.switch_to_deploy()
    assert count(model, (64, 64)).params == deploy


def test_parts():
    cfg = Config.fromfile(CONFIGS / 'upernet_replknet-tiny_shapes.py')
    model = build_model(cfg, meta=True)
    found = count(model, (64, 96))
    assert list(found.parts) == ['backbone', 'decode_head']
    assert list(found.idle) == ['auxiliary_head']
    everything = sum(p.numel() for p in model.parameters())
    assert found.params + found.idle['auxiliary_head'] == everything
    for key, total in (('params', found.params), ('flops', found.flops)):
        assert sum(part[key] for part in found.parts.values()) == total
    backbone = count(model.backbone, (64, 96))
    assert found.parts['backbone'] == dict(
        params=backbone.params, flops=backbone.flops
    )
    # nothing is left behind on the model
    assert 'forward' not in model.backbone.__dict__
    assert all(p.requires_grad for p in model.parameters())
    assert count(model, (64, 96)) == found


def test_model_that_reads_values_when_built():
    """Meta tensors have none; such a model is built with weights."""
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(type='SwinTransformer', embed_dims=24, depths=(2, 2),
                       num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1)),
        )
    )  # fmt: skip
    assert count(build_model(cfg, meta=True), (64, 64)).flops > 0


def test_wrong_input():
    with pytest.raises(UsageError, match='must define model'):
        build_model(Config(dict(mode='test')), meta=True)
    with pytest.raises(UsageError, match='cannot be built.*NoSuchNet'):
        build_model(Config(dict(model=dict(type='NoSuchNet'))), meta=True)
    with pytest.raises(UsageError, match='image of 2 x 2'):
        count(nn.Conv2d(3, 3, 5).eval(), (2, 2))
    with pytest.raises(ValueError, match='evaluation mode'):
        count(nn.Conv2d(3, 3, 5), (2, 2))


def test_input_of_one_channel():
    with torch.device('meta'):
        model = UniRepLKNet('A', in_channels=1, out_indices=(0,)).eval()
        colour = UniRepLKNet('A', out_indices=(0,)).eval()
    more = count(colour, (64, 96)).flops - count(model, (64, 96)).flops
    assert more == 2 * 20 * 3 * 3 * 32 * 48, 'of the first convolution'


@pytest.mark.slow
def test_model_that_looks_at_values():
    """DINO-4scale, published with 47 M parameters and 279 GFLOPs."""
    folder = Path(mmdet.__file__).parent
    name = 'dino/dino-4scale_r50_8xb2-12e_coco.py'
    cfg = load_config(f'{folder}/.mim/configs/{name}')
    with pytest.raises(ValuesNeeded):
        count(build_model(cfg, meta=True), (64, 64))
    found = count(build_model(cfg), (800, 1280))
    assert found.params / 1e6 == pytest.approx(47, abs=1)
    assert found.flops / 1e9 == pytest.approx(279, rel=0.01)
