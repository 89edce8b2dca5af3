import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.deploy import fuse_conv_bn
from mmrep.models import UniRepLKNet
from mmrep.models.backbones.unireplknet import UniRepLKNetBlock
from mmrep.models.layers import DilatedReparamBlock
from mmrep.ops import DepthwiseConv2d

PUBLISHED = {
    'A': (4_328_620, 4_116_860),
    'F': (6_105_000, 5_850_888),
    'P': (10_568_416, 10_229_600),
    'N': (18_179_000, 17_678_680),
    'T': (31_053_540, 30_398_100),
    'S': (55_689_048, 54_878_328),
    'B': (98_066_208, 96_985_248),
    'L': (218_541_744, 216_920_304),
    'XL': (386_645_568, 384_483_648),
}
# (size, dilation) beside a kernel of 13
BRANCHES = {
    13: [(5, 1), (7, 2), (3, 3), (3, 4), (3, 5)],
    9: [(5, 1), (5, 2), (3, 3), (3, 4)],
    7: [(5, 1), (3, 2), (3, 3)],
}
CHANNELS = {
    'A': 40,
    'F': 48,
    'P': 64,
    'N': 80,
    'T': 80,
    'S': 96,
    'B': 128,
    'L': 192,
    'XL': 256,
}


def published_kernels(arch):
    """Sizes per stage, from the tables of the paper."""
    if arch in 'AFP':
        return [[3] * 2, [13] * 2, [13] * 6, [13] * 2]
    if arch == 'N':
        return [[3] * 2, [13] * 2, [13] * 8, [13] * 2]
    mixed = [13, 3] * 9 if arch == 'T' else [13, 3, 3] * 9
    return [[3] * 3, [13] * 3, mixed, [13] * 3]


@pytest.fixture
def arch():
    """A plain and a dilated block in one stage, sizes 3 to 13 in all."""
    return dict(
        channels=(8, 12, 16, 20),
        depths=(1, 1, 3, 1),
        kernel_sizes=((3,), (13,), (9, 3, 5), (7,)),
    )


def names(prefix, *leaves):
    return [f'{prefix}.{leaf}' for leaf in leaves]


def affine(prefix):
    return names(prefix, 'weight', 'bias')


def bn(prefix):
    return affine(prefix) + names(
        prefix, 'running_mean', 'running_var', 'num_batches_tracked'
    )


def official_keys(kernel_sizes, deploy=False):
    """Names in the authors' files, written out from their description."""
    keys = []
    for layer in (0, 1, 3, 4):
        keys += affine(f'downsample_layers.0.{layer}')
    for s, sizes in enumerate(kernel_sizes):
        keys += affine(f'norm{s}')
        if s:
            keys += affine(f'downsample_layers.{s}.0')
            keys += affine(f'downsample_layers.{s}.1')
        for b, size in enumerate(sizes):
            block = f'stages.{s}.{b}'
            kernel = 'dwconv.lk_origin' if size > 5 else 'dwconv'
            keys += names(f'{block}.{kernel}', 'weight')
            for layer in ('se.down', 'se.up', 'pwconv1.1'):
                keys += affine(f'{block}.{layer}')
            keys += names(block, 'act.1.gamma', 'pwconv2.0.weight')
            if deploy:
                keys += names(block, f'{kernel}.bias', 'pwconv2.0.bias')
                continue
            keys += names(block, 'act.1.beta', 'gamma')
            keys += bn(f'{block}.norm') + bn(f'{block}.pwconv2.2')
            if size > 5:
                keys += bn(f'{block}.dwconv.origin_bn')
                for k, r in BRANCHES[size]:
                    keys += [f'{block}.dwconv.dil_conv_k{k}_{r}.weight']
                    keys += bn(f'{block}.dwconv.dil_bn_k{k}_{r}')
    return set(keys)


def reference_forward(state, x, kernel_sizes, training=False):
    """UniRepLKNet in plain torch functions, from the paper and a state."""

    def norm(x, name):
        mean, var = (
            state[f'{name}.running_{s}'].clone() for s in ('mean', 'var')
        )
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        return F.batch_norm(x, mean, var, weight, bias, training=training)

    def layer_norm(x, name):
        mean = x.mean(1, keepdim=True)
        var = (x - mean).square().mean(1, keepdim=True)
        x = (x - mean) / (var + 1e-6).sqrt()
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        return x * weight[:, None, None] + bias[:, None, None]

    def depthwise(x, name, dilation=1):
        weight = state[f'{name}.weight']
        padding = dilation * (weight.size(-1) // 2)
        return F.conv2d(
            x,
            weight,
            padding=padding,
            dilation=dilation,
            groups=weight.size(0),
        )

    def conv(x, name, **kwargs):
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        return F.conv2d(x, weight, bias, **kwargs)

    def block(x, name, size):
        if size > 5:
            y = norm(
                depthwise(x, f'{name}.dwconv.lk_origin'),
                f'{name}.dwconv.origin_bn',
            )
            for k, r in BRANCHES[size]:
                part = depthwise(x, f'{name}.dwconv.dil_conv_k{k}_{r}', r)
                y = y + norm(part, f'{name}.dwconv.dil_bn_k{k}_{r}')
        else:
            y = depthwise(x, f'{name}.dwconv')
        y = norm(y, f'{name}.norm')
        gate = conv(y.mean((2, 3), keepdim=True), f'{name}.se.down')
        y = y * conv(gate.relu(), f'{name}.se.up').sigmoid()
        y = y.permute(0, 2, 3, 1)
        y = F.linear(
            y,
            state[f'{name}.pwconv1.1.weight'],
            state[f'{name}.pwconv1.1.bias'],
        )
        y = F.gelu(y)
        size = y.square().sum((1, 2), keepdim=True).sqrt()
        size = size / (size.mean(-1, keepdim=True) + 1e-6)
        gamma, beta = state[f'{name}.act.1.gamma'], state[f'{name}.act.1.beta']
        y = (gamma * size + 1) * y + beta
        y = F.linear(y, state[f'{name}.pwconv2.0.weight'])
        y = norm(y.permute(0, 3, 1, 2), f'{name}.pwconv2.2')
        return x + state[f'{name}.gamma'].view(1, -1, 1, 1) * y

    down = partial(conv, stride=2, padding=1)
    outs = []
    for s, sizes in enumerate(kernel_sizes):
        x = down(x, f'downsample_layers.{s}.0')
        x = layer_norm(x, f'downsample_layers.{s}.1')
        if s == 0:
            x = down(F.gelu(x), 'downsample_layers.0.3')
            x = layer_norm(x, 'downsample_layers.0.4')
        for b, size in enumerate(sizes):
            x = block(x, f'stages.{s}.{b}', size)
        outs.append(layer_norm(x, f'norm{s}'))
    return outs


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_counts_and_names(name):
    kernels = published_kernels(name)
    with torch.device('meta'):
        models = UniRepLKNet(name), UniRepLKNet(name, deploy=True)
    assert tuple(count(m) for m in models) == PUBLISHED[name]
    for model, deploy in zip(models, (False, True), strict=True):
        state = model.state_dict()
        assert set(state) == official_keys(kernels, deploy)
        c = CHANNELS[name]
        assert state['stages.0.0.pwconv1.1.weight'].shape == (4 * c, c)
        assert state['stages.3.1.pwconv2.0.weight'].shape == (8 * c, 32 * c)
        assert state['stages.1.0.act.1.gamma'].shape == (1, 1, 1, 8 * c)
        for s, sizes in enumerate(kernels):
            for b, size in enumerate(sizes):
                key = 'dwconv.lk_origin' if size > 5 else 'dwconv'
                weight = state[f'stages.{s}.{b}.{key}.weight']
                assert weight.shape == (c << s, 1, size, size)


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(arch='M'), "got 'M'"),
        (dict(kernel_sizes=((3,), (13,), (9, 3), (7,))), 'each of the 3'),
        (dict(kernel_sizes=(3, 13, 9, 7)), 'each of the 1'),
        (dict(kernel_sizes=((4,), (13,), (9, 3, 3), (7,))), 'odd.*got 4'),
        (dict(kernel_sizes=((8,), (13,), (9, 3, 3), (7,))), 'odd.*got 8'),
        (dict(kernel_sizes=((21,), (13,), (9, 3, 3), (7,))), 'got 21'),
        (dict(dilated_branches={13: ((7, 3),)}), 'at most 13'),
        (dict(dilated_branches={13: ((4, 1),)}), 'odd size'),
        (dict(dilated_branches={13: ((3, 1), (3, 1))}), 'must differ'),
        (dict(kernels=3), "'kernels'"),
        (dict(depths=(1, 1)), 'value per stage'),
    ],
)
def test_wrong_arch(arch, changes, text):
    arch = changes['arch'] if 'arch' in changes else {**arch, **changes}
    with pytest.raises(ValueError, match=text):
        UniRepLKNet(arch)


@pytest.mark.parametrize(
    'kwargs, text',
    [
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
    ],
)
def test_wrong_arguments(arch, kwargs, text):
    with pytest.raises(ValueError, match=text):
        UniRepLKNet(arch, **kwargs)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('size', [(61, 90), (64, 64), (33, 257)])
def test_forward_equals_plain_torch(arch, randomise, training, size):
    model = randomise(UniRepLKNet(arch)).double().train(training)
    state = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 3, *size, dtype=torch.double)
    expected = reference_forward(state, x, arch['kernel_sizes'], training)
    outs = model(x)
    assert isinstance(outs, tuple)
    for i, (out, reference) in enumerate(zip(outs, expected, strict=True)):
        shape = (2, arch['channels'][i], *(-(-n // (4 << i)) for n in size))
        assert out.shape == shape
        torch.testing.assert_close(out, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('training', [False, True])
def test_gradients_equal_plain_torch(arch, randomise, training):
    model = randomise(UniRepLKNet(arch)).double().train(training)
    state = copy.deepcopy(model.state_dict())
    for name, _ in model.named_parameters():
        state[name].requires_grad_()
    x = torch.randn(2, 3, 48, 80, dtype=torch.double)
    for outs in (
        model(x),
        reference_forward(state, x, arch['kernel_sizes'], training),
    ):
        sum(out.pow(3).mean() for out in outs).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, state[name].grad, msg=name)


def test_depthwise_goes_through_the_operator(arch, monkeypatch):
    model = UniRepLKNet(arch)
    convs = [
        m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1
    ]
    large = sum(len(BRANCHES[k]) for k in (13, 9, 7))
    assert len(convs) == 6 + large
    assert all(isinstance(m, DepthwiseConv2d) for m in convs)
    model.switch_to_deploy()
    convs = [m for m in model.modules() if isinstance(m, DepthwiseConv2d)]
    assert len(convs) == 6 and all(m.bias is not None for m in convs)


@pytest.mark.parametrize('channels, size', [(1, (32, 500)), (6, (300, 16))])
def test_in_channels_and_aspect_ratios(arch, channels, size):
    """Audio is one channel, thin and long; point clouds have three views."""
    model = UniRepLKNet(arch, in_channels=channels)
    x = torch.randn(2, channels, *size)
    outs = model(x)
    sum(out.square().mean() for out in outs).backward()
    assert model.downsample_layers[0][0].weight.grad.abs().sum() > 0
    for i, out in enumerate(outs):
        assert out.shape[2:] == tuple(-(-n // (4 << i)) for n in size)


@pytest.mark.parametrize('norm_eval', [False, True])
def test_drop_path_drops_whole_blocks(norm_eval):
    """An image keeps its block with 1 / (1 - p) of the value, or loses it."""
    block = UniRepLKNet(
        dict(channels=(8,), depths=(1,), kernel_sizes=((3,),)),
        out_indices=(0,),
        layer_scale_init_value=2.0,
    ).stages[0][0]
    for m in block.modules():
        if isinstance(m, _BatchNorm) and norm_eval:
            m.eval()
    x = torch.randn(64, 8, 5, 5)
    kept = (block(x) - x) / 0.75
    block.drop_path.drop_prob = 0.25
    with torch.no_grad():
        change = block(x) - x
    lost = change.abs().sum((1, 2, 3)) == 0
    assert 4 <= lost.sum() <= 30
    torch.testing.assert_close(
        change[~lost], kept[~lost], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN'])
def test_norm_cfg_reaches_every_norm(arch, norm_type):
    model = UniRepLKNet(arch, norm_cfg=dict(type=norm_type, eps=1e-3))
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    expected = official_keys(arch['kernel_sizes'])
    assert len(norms) == sum('running_mean' in key for key in expected)
    sync = norm_type == 'SyncBN'
    assert all(isinstance(m, nn.SyncBatchNorm) is sync for m in norms)
    assert all(m.eps == 1e-3 for m in norms)


@pytest.mark.parametrize('value', [1e-6, 0.5, 0, None])
def test_layer_scale(arch, value):
    model = UniRepLKNet(arch, layer_scale_init_value=value)
    scales = [b.gamma for stage in model.stages for b in stage]
    assert len(scales) == 6
    if not value:
        assert scales == [None] * 6
    else:
        assert all(torch.equal(s, torch.full_like(s, value)) for s in scales)
    x = torch.randn(2, 3, 64, 64)
    expected = model.eval()(x)
    model.switch_to_deploy()
    for out, reference in zip(model(x), expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'size, branches, large',
    [
        (3, None, False),
        (5, None, False),
        (5, ((3, 1), (3, 2)), True),
        *((k, None, True) for k in (7, 9, 11, 13, 15, 17)),
        (21, ((5, 1), (7, 3), (3, 10)), True),
    ],
)
@pytest.mark.parametrize('scaled', [False, True])
def test_block_kinds_switch_to_deploy(
    randomise, size, branches, large, scaled
):
    """Equal in double precision, for each kernel size of LarK and SmaK."""
    block = UniRepLKNetBlock(
        12,
        size,
        branches,
        se_ratio=0.25,
        ffn_ratio=4,
        drop_path=0.2,
        layer_scale_init_value=0.5 if scaled else None,
        norm_cfg=dict(type='BN'),
        deploy=False,
    )
    randomise(block).double().eval()
    assert isinstance(block.dwconv, DilatedReparamBlock) is large
    x = torch.randn(2, 12, 19, 23, dtype=torch.double)
    with torch.no_grad():
        # layer by layer, as in training: eval itself merges on the fly
        block.is_mergeable = lambda: False
        if large:
            block.dwconv.is_mergeable = lambda: False
        expected = block(x)
        if large:
            del block.dwconv.is_mergeable
        del block.is_mergeable
        merged = block(x)
        block.switch_to_deploy()
        out = block(x)
        block.switch_to_deploy()
        again = block(x)
    for y in (merged, out):
        assert (y - expected).norm() <= 1e-10 * expected.norm()
    assert torch.equal(out, again)
    assert {n for n, _ in block.named_buffers()} == set(), 'no norm is left'
    if large:
        assert block.dwconv.lk_origin.padding == (size // 2,) * 2


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-4), (torch.float64, 1e-10)]
)
def test_switch_to_deploy(arch, randomise, norm, dtype, tolerance):
    kwargs = dict(norm_cfg=dict(type=norm))
    model = randomise(UniRepLKNet(arch, **kwargs)).to(dtype).eval()
    x = torch.randn(2, 3, 64, 64, dtype=dtype)
    expected = reference_forward(model.state_dict(), x, arch['kernel_sizes'])
    model.switch_to_deploy()
    once = model.state_dict()
    model.switch_to_deploy()
    assert (
        set(once)
        == set(model.state_dict())
        == official_keys(arch['kernel_sizes'], deploy=True)
    )
    deployed = UniRepLKNet(arch, deploy=True, **kwargs).to(dtype).eval()
    deployed.load_state_dict(model.state_dict())
    for out, again, reference in zip(
        model(x), deployed(x), expected, strict=True
    ):
        assert (out - reference).norm() <= tolerance * reference.norm()
        assert torch.equal(out, again)
    kinds = {type(m) for m in model.modules()}
    assert not any(issubclass(kind, _BatchNorm) for kind in kinds)


def test_fusing_norms_changes_nothing(arch, randomise):
    model = randomise(UniRepLKNet(arch)).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.double)
    expected = model(x)
    for out, reference in zip(fuse_conv_bn(model)(x), expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-10, atol=1e-10)


def test_channels_stay_last_in_memory(arch):
    """No layer moves channels: each map is channels_last."""
    model = UniRepLKNet(arch)
    seen = []

    def record(module, args, out):
        if isinstance(out, torch.Tensor) and out.size(2) > 1:
            seen.append(out.is_contiguous(memory_format=torch.channels_last))

    for m in model.modules():
        m.register_forward_hook(record)
    for mode in (True, False):
        model.train(mode)(torch.randn(2, 3, 64, 64))
    assert len(seen) > 50 and all(seen)


def test_published_initialisation(arch):
    model = UniRepLKNet(arch)
    model.init_weights()
    for name, p in model.named_parameters():
        if name.endswith('bias') or 'act.1' in name:
            assert (p == 0).all(), name
        elif p.dim() > 1 and p.numel() > 200:
            assert 0.015 < p.std() < 0.025, name


def test_starts_from_released_weights(arch, tmp_path):
    """Their layout: under 'model', with the classifier's norm and head."""
    source = UniRepLKNet(arch)
    state = source.state_dict()
    released = {k: v for k, v in state.items() if k[:5] not in NORMS}
    released['norm.weight'] = torch.rand(20)
    released['head.weight'] = torch.rand(10, 20)
    path = tmp_path / 'classifier.pth'
    torch.save(dict(model=released), path)
    model = UniRepLKNet(
        arch, init_cfg=dict(type='Pretrained', checkpoint=str(path))
    )
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


NORMS = ('norm0', 'norm1', 'norm2', 'norm3')
