import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import init_default_scope
from mmseg.models import EncoderDecoder
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import prune

from mmrep.deploy import fuse_conv_bn
from mmrep.models import RepLKNet
from mmrep.models.layers import InplaceGELU


def norms(model):
    return [n for n, m in model.named_modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@pytest.mark.parametrize('merged', [False, True])
def test_backbone(tiny_arch, randomise, norm, merged):
    model = RepLKNet(tiny_arch, norm_cfg=dict(type=norm))
    randomise(model).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    expected = model(x)
    if merged:
        model.switch_to_deploy()
    assert fuse_conv_bn(model) is model
    assert norms(model) == []
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    fuse_conv_bn(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    for out, reference in zip(model(x), expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-12, atol=1e-12)


def test_norms_that_cannot_be_folded_stay(tiny_arch, randomise):
    model = RepLKNet(tiny_arch, norm_intermediate_features=True)
    randomise(model).eval()
    fuse_conv_bn(model)
    assert norms(model) == [f'stages.{i}.norm' for i in range(4)]


def test_segmentor(tiny_arch, randomise):
    init_default_scope('mmseg')
    norm_cfg = dict(type='SyncBN')
    head = dict(channels=8, num_classes=5, norm_cfg=norm_cfg)
    model = EncoderDecoder(
        backbone=dict(
            type='mmrep.RepLKNet', arch=tiny_arch, norm_cfg=norm_cfg
        ),
        decode_head=dict(
            type='UPerHead',
            in_channels=[8, 12, 16, 20],
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2),
            **head,
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=16,
            in_index=2,
            num_convs=1,
            concat_input=False,
            **head,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    randomise(model).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.double)
    expected = model(x)
    model.backbone.switch_to_deploy()
    fuse_conv_bn(model)
    assert norms(model) == []
    torch.testing.assert_close(model(x), expected, rtol=1e-11, atol=1e-11)


def test_only_what_a_conv_made_is_overwritten():
    model = nn.Sequential(
        nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(2, 2, 1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.ReLU(),
    ).eval()
    x = torch.randn(1, 2, 4, 4)
    before, want = x.clone(), model(x)
    fuse_conv_bn(model)
    assert [m.inplace for m in model if isinstance(m, nn.ReLU)] == [
        False,
        True,
        False,
    ]
    torch.testing.assert_close(model(x), want)
    assert torch.equal(x, before)


@pytest.mark.parametrize('grad', [False, True])
def test_gelu_overwrites_only_without_a_graph(grad):
    gelu = nn.GELU(approximate='tanh')
    gelu.__class__ = InplaceGELU
    x = torch.randn(3, 4, requires_grad=grad)
    want = nn.functional.gelu(x.detach().clone(), approximate='tanh')
    out = gelu(x)
    torch.testing.assert_close(out, want)
    assert (out is x) is not grad
    if grad:
        (one,) = torch.autograd.grad(out.sum(), x)
        (two,) = torch.autograd.grad(
            nn.functional.gelu(x, approximate='tanh').sum(), x
        )
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize('grad', [False, True])
def test_blocks_with_gelu_in_place(tiny_arch, randomise, grad):
    model = randomise(RepLKNet(tiny_arch)).eval()
    x = torch.randn(1, 3, 64, 64, requires_grad=grad)
    expected = model(x)[-1]
    fuse_conv_bn(model)
    gelus = [m for m in model.modules() if isinstance(m, nn.GELU)]
    assert gelus and all(isinstance(m, InplaceGELU) for m in gelus)
    with torch.set_grad_enabled(grad):
        out = model(x)[-1]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    if grad:
        out.sum().backward()
        assert x.grad.isfinite().all()


def test_norm_before_conv_is_left_alone(randomise):
    module = ConvModule(
        4,
        4,
        3,
        padding=1,
        norm_cfg=dict(type='BN'),
        order=('norm', 'conv', 'act'),
    )
    randomise(module).eval()
    x = torch.randn(1, 4, 8, 8)
    expected = module(x)
    fuse_conv_bn(module)
    assert norms(module)
    torch.testing.assert_close(module(x), expected)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match='evaluation mode'):
        fuse_conv_bn(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))


def test_shared_convolution_with_norms_of_its_own(randomise):
    """As heads that share convolutions between levels have them."""
    first, second = (
        ConvModule(4, 4, 3, padding=1, norm_cfg=dict(type='SyncBN'))
        for _ in range(2)
    )
    second.conv = first.conv
    model = nn.ModuleList([first, second])
    randomise(model).eval()
    x = torch.randn(2, 4, 8, 8)
    expected = [part(x) for part in model]
    keys = set(model.state_dict())
    fuse_conv_bn(model)
    assert norms(model) == []
    assert {k for k in keys if 'conv.weight' in k} < set(model.state_dict())
    for part, reference in zip(model, expected, strict=True):
        torch.testing.assert_close(part(x), reference)


def test_shared_weight_of_two_layers(randomise):
    model = nn.ModuleList(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2)
    )
    model[1][0].weight = model[0][0].weight
    randomise(model).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = [part(x) for part in model]
    fuse_conv_bn(model)
    for part, reference in zip(model, expected, strict=True):
        torch.testing.assert_close(part(x), reference)


def test_layers_that_change_their_weight_are_left_alone(randomise):
    conv = dict(type='ConvWS')
    module = ConvModule(4, 4, 3, conv_cfg=conv, norm_cfg=dict(type='BN'))
    weighted = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    spectral = ConvModule(
        4, 4, 3, norm_cfg=dict(type='BN'), with_spectral_norm=True
    )
    pruned = nn.Conv2d(4, 4, 1)
    prune.l1_unstructured(pruned, 'weight', 0.5)
    bn = nn.BatchNorm2d
    model = nn.Sequential(module, weighted, bn(4), spectral, pruned, bn(4))
    randomise(model).eval()
    x = torch.randn(2, 4, 8, 8)
    expected = model(x)
    fuse_conv_bn(model)
    assert norms(model) == ['0.bn', '2', '3.bn', '5']
    torch.testing.assert_close(model(x), expected)
