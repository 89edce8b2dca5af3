import copy

import pytest
import torch
from overlock_reference import Reference, official_keys
from sweep import sweep
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.analysis import count
from mmrep.deploy import fuse_conv_bn
from mmrep.models import OverLoCK
from mmrep.models.layers import (
    ContMix,
    DilatedReparamBlock,
    ResidualDepthwise,
)
from mmrep.ops import DepthwiseConv2d

# parameters in M and FLOPs in G at 224x224 as published
PUBLISHED = {
    'XT': (16, 2.6),
    'T': (33, 5.5),
    'S': (56, 9.7),
    'B': (95, 16.7),
}
# FLOPs in G by our count, which docs/model_zoo.md has
OURS = {'XT': 2.65, 'T': 5.54, 'S': 9.53, 'B': 16.83}


@pytest.fixture
def arch():
    return dict(
        channels=(8, 12, 16, 32),
        depths=(1, 1, 2, 1),
        kernel_sizes=(17, 15, 9, 7),
        focus_depths=(4, 2),
        focus_heads=(2, 4),
    )


@pytest.fixture
def randomise(randomise):
    """Norms, scales, biases and GRN that no form may lose."""

    def fill(model):
        randomise(model)
        for name, p in model.named_parameters():
            part, leaf = name.split('.')[-2:]
            if leaf in ('gamma', 'beta') or 'rpb' in leaf:
                nn.init.uniform_(p, -1, 1)
            elif part in ('ls', 'ls1', 'ls2', 'x_scale', 'h_scale'):
                nn.init.uniform_(p, -0.5, 1.5)
            elif p.dim() == 1 and leaf == 'bias':
                nn.init.uniform_(p, -0.5, 0.5)
            elif p.dim() == 4:
                nn.init.normal_(p, std=p[0].numel() ** -0.5)
        return model

    return fill


def flops_by_layers(model, size):
    """As mmcv 1's counter counts the authors' classifier, without its head.

    It knows ``nn.Conv2d``, with its bias, batch norms (two for each value)
    and pooling, and no subclasses of them and no functions: so neither the
    residual 3x3 kernels, nor likeness and product of the dynamic kernels. What
    makes a kernel of a likeness is a convolution there.
    """
    total = 0

    def add(module, inputs, out):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            taps = module.weight[0].numel() + (module.bias is not None)
            total += out.numel() * taps
        elif isinstance(module, _BatchNorm):
            total += 2 * out.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            total += inputs[0].numel()
        else:
            proj = module.weight_proj
            places = out[:, 0].numel() * module.num_heads
            total += places * (proj.weight.numel() + proj.bias.numel())

    for module in model.modules():
        if isinstance(
            module, (nn.Conv2d, _BatchNorm, nn.AdaptiveAvgPool2d, ContMix)
        ) and not isinstance(module, ResidualDepthwise):
            module.register_forward_hook(add)
    model(torch.empty(1, 3, *size, device='meta'))
    return total


@pytest.mark.parametrize('name', sweep(PUBLISHED))
def test_published_counts_and_names(name):
    """The deploy form with the classifier, as the authors' table counts."""
    params, flops = PUBLISHED[name]
    with torch.device('meta'):
        model = OverLoCK(name).eval()
        deployed = OverLoCK(name, deploy=True).eval()
    assert set(model.state_dict()) == official_keys(model.arch)
    assert set(deployed.state_dict()) == official_keys(model.arch, True)
    width = model.out_channels[-1]
    # a projection, its norm, 1000 classes; and no output norms
    head = width * 1024 + 2 * 1024 + 1024 * 1000 + 1000
    head -= sum(2 * channels for channels in model.out_channels)
    found = count(deployed, (224, 224))
    assert round((found.params + head) / 1e6) == params
    head_flops = 49 * width * 1024 + 1024 * 1000
    assert round((found.flops + head_flops) / 1e9, 2) == OURS[name]
    # beside its weights: its norm, pooling and the bias of the classes
    head_flops += 3 * 49 * 1024 + 1000
    published = flops_by_layers(deployed, (224, 224)) + head_flops
    assert round(published / 1e9, 1) == flops


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(arch='M'), "got 'M'"),
        (dict(kernel_sizes=(17, 15, 8, 7)), 'branches are published, got 8'),
        (dict(kernel_sizes=(17, 15, 9)), 'value per stage'),
        (
            dict(depths=(1, 1), channels=(8, 8), kernel_sizes=(7, 7)),
            '4 stages',
        ),
        (dict(focus_depths=(2,)), 'focus_depths must be 2'),
        (dict(focus_depths=2), 'focus_depths must be 2'),
        (dict(focus_heads=(2, 2, 2)), 'focus_heads must be 2'),
        (dict(focus_heads=(0, 4)), r'1 or more, got \(0, 4\)'),
        (dict(focus_heads=(2, -4)), r'1 or more, got \(2, -4\)'),
        (dict(focus_heads=(3, 4)), '16 channels and 6 heads'),
        (dict(small_kernel=4), 'small_kernel must be odd.*got 4'),
        (dict(small_kernel=0), 'small_kernel must be odd.*got 0'),
        (dict(small_kernel=-3), 'small_kernel must be odd.*got -3'),
        (dict(channels=(8, 12, 16, 3)), 'end with 4 or more'),
        (dict(focus_ffn_ratio=0), 'focus_ffn_ratio times channels'),
        (dict(kernels=3), "'kernels'"),
    ],
)
def test_wrong_arch(arch, changes, text):
    arch = changes['arch'] if 'arch' in changes else {**arch, **changes}
    with pytest.raises(ValueError, match=text):
        OverLoCK(arch)


@pytest.mark.parametrize(
    'kwargs, text',
    [
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(frozen_stages=7), r'-1\.\.6, got 7'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
        (dict(out_indices=(0, 2), overview_output=True), 'index 3'),
    ],
)
def test_wrong_arguments(arch, kwargs, text):
    with pytest.raises(ValueError, match=text):
        OverLoCK(arch, **kwargs)


# 3 and 2 below the large kernels; wide and high; as large as they are
@pytest.mark.parametrize('size', sweep([(61, 90), (100, 33), (224, 160)]))
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('overview', [False, True])
def test_forward_equals_plain_torch(arch, randomise, size, training, overview):
    model = OverLoCK(arch, overview_output=overview)
    randomise(model).double().train(training)
    state = copy.deepcopy(model.state_dict())
    assert set(state) == official_keys(arch, overview=overview)
    x = torch.randn(2, 3, *size, dtype=torch.double)
    with torch.no_grad():
        expected = Reference(state, arch, training)(x)
        outs = model(x)
    assert isinstance(outs, tuple)
    for i, (out, reference) in enumerate(zip(outs, expected, strict=True)):
        shape = (model.out_channels[i], *(-(-n // (4 << i)) for n in size))
        assert out.shape == (2, *shape)
        torch.testing.assert_close(out, reference, rtol=1e-9, atol=1e-9)


def test_gradients_equal_plain_torch(arch, randomise):
    model = randomise(OverLoCK(arch)).double()
    state = copy.deepcopy(model.state_dict())
    for name, _ in model.named_parameters():
        state[name].requires_grad_()
    x = torch.randn(2, 3, 160, 48, dtype=torch.double)
    for outs in (model(x), Reference(state, arch, True)(x)):
        sum(out.pow(3).mean() for out in outs).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, state[name].grad, msg=name)


def test_depthwise_goes_through_the_operator(arch):
    convs = [
        m
        for m in OverLoCK(arch).modules()
        if isinstance(m, nn.Conv2d) and m.groups > 1
    ]
    # two 3x3 in a block of the base net, four in one of the focus net
    assert len(convs) >= 5 * 2 + 6 * 4 + 5 * 5
    assert all(isinstance(m, DepthwiseConv2d) for m in convs)


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN'])
def test_norm_cfg_reaches_every_norm(arch, norm_type):
    model = OverLoCK(arch, norm_cfg=dict(type=norm_type, eps=1e-3))
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == sum('running_mean' in k for k in official_keys(arch))
    sync = norm_type == 'SyncBN'
    assert all(isinstance(m, nn.SyncBatchNorm) is sync for m in norms)
    assert all(m.eps == 1e-3 for m in norms)


def test_layer_depth():
    """Three blocks are a layer where a part has many; the rest comes last."""
    with torch.device('meta'):
        model = OverLoCK('T')
    expected = {
        'patch_embed1.0.weight': 0,
        'blocks1.3.ls.weight': 1,
        'patch_embed2.0.weight': 2,
        'blocks2.0.ls.weight': 2,
        'patch_embed3.0.weight': 3,
        'blocks3.2.ls.weight': 3,
        'blocks3.3.ls.weight': 4,
        'patch_embed4.0.weight': 5,
        'blocks4.1.ls.weight': 5,
        'high_level_proj.weight': 6,
        'sub_blocks3.2.rpb1': 6,
        'sub_blocks3.11.rpb2': 9,
        'patch_embedx.h_proj.0.weight': 10,
        'sub_blocks4.1.rpb1': 10,
        'extra_norm.0.weight': 11,
        'h_proj.0.weight': 11,
    }
    for name, depth in expected.items():
        assert model.get_layer_depth(name) == (depth, 12), name
        prefixed = f'backbone.{name}'
        found = model.get_layer_depth(prefixed, 'backbone.', 10)
        assert found == (depth, 12)
    depths = {model.get_layer_depth(n)[0] for n, _ in model.named_parameters()}
    assert depths == set(range(12))


@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-4), (torch.float64, 1e-10)]
)
def test_switch_to_deploy(arch, randomise, dtype, tolerance):
    model = randomise(OverLoCK(arch)).to(dtype).eval()
    x = torch.randn(2, 3, 64, 64, dtype=dtype)
    with torch.no_grad():
        expected = Reference(model.state_dict(), arch)(x)
        model.switch_to_deploy()
        model.switch_to_deploy()
        outs = model(x)
        assert set(model.state_dict()) == official_keys(arch, deploy=True)
        assert model.deploy
        deployed = OverLoCK(arch, deploy=True).to(dtype).eval()
        deployed.load_state_dict(model.state_dict())
        for out, again, reference in zip(
            outs, deployed(x), expected, strict=True
        ):
            assert (out - reference).norm() <= tolerance * reference.norm()
            assert torch.equal(out, again)
        fused = fuse_conv_bn(model)
        for out, reference in zip(fused(x), expected, strict=True):
            assert (out - reference).norm() <= tolerance * reference.norm()
    left = [m for m in fused.modules() if isinstance(m, _BatchNorm)]
    assert not left, 'every norm lies beside a convolution'


def test_norms_behind_branches_stay(arch, randomise):
    """The training form cannot take the norm behind a large kernel."""
    model = randomise(OverLoCK(arch)).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.double)
    with torch.no_grad():
        expected = model(x)
        for out, reference in zip(
            fuse_conv_bn(model)(x), expected, strict=True
        ):
            torch.testing.assert_close(out, reference)
    kernels = [
        m for m in model.modules() if isinstance(m, DilatedReparamBlock)
    ]
    assert len(kernels) == 11 and all(m.origin_bn is not None for m in kernels)


def test_channels_stay_last_in_memory(arch):
    model = OverLoCK(arch)
    for mode in (True, False):
        for out in model.train(mode)(torch.randn(2, 3, 64, 64)):
            assert out.is_contiguous(memory_format=torch.channels_last)


def test_published_initialisation(arch):
    model = OverLoCK(arch)
    model.init_weights()
    for name, p in model.named_parameters():
        if name.endswith(('bias', 'gamma', 'beta')) or 'rpb' in name:
            assert (p == 0).all(), name
        elif 'scale' in name or '.ls' in name:
            assert (p == 1).all(), name
        elif p.dim() > 1 and p.numel() > 200:
            assert 0.015 < p.std() < 0.025, name


@pytest.mark.slow
def test_onnx_of_large_maps(randomise, tmp_path):
    """Maps above the large kernel, and, in the check, below it."""
    from mmrep.deploy.export import export_onnx
    from mmrep.deploy.exportable import exportable

    arch = dict(
        channels=(8, 8, 16, 32),
        depths=(1, 1, 1, 1),
        kernel_sizes=(7, 7, 9, 7),
        focus_depths=(1, 1),
        focus_heads=(2, 4),
    )
    model = randomise(OverLoCK(arch, deploy=True)).eval()
    out = str(tmp_path / 'overlock.onnx')
    done = export_onnx(exportable(model), out, (288, 320), dynamic=True)
    assert all(
        d.relative < 1e-4 for found in done.differences.values() for d in found
    )
