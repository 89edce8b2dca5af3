import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrep.models import RepLKNet
from mmrep.ops import DepthwiseConv2d

PUBLISHED = {
    '31B': (78_837_120, 78_500_224),
    '31L': (171_130_944, 170_625_600),
    'XL': (333_382_656, 333_346_560),
}


def count(model):
    return sum(p.numel() for p in model.parameters())


def conv_bn_keys(prefix):
    yield f'{prefix}.conv.weight'
    yield from bn_keys(f'{prefix}.bn')


def bn_keys(prefix):
    for name in (
        'weight',
        'bias',
        'running_mean',
        'running_var',
        'num_batches_tracked',
    ):
        yield f'{prefix}.{name}'


def official_keys(depths=(2, 2, 18, 2), small=True, norms=False, deploy=False):
    """Names in the authors' files, written out from their description."""
    keys = []
    for i in range(4):
        keys += conv_bn_keys(f'stem.{i}')
    for i in range(3):
        keys += conv_bn_keys(f'transitions.{i}.0')
        keys += conv_bn_keys(f'transitions.{i}.1')
    for s, depth in enumerate(depths):
        for b in range(2 * depth):
            block = f'stages.{s}.blocks.{b}'
            keys += conv_bn_keys(f'{block}.pw1')
            keys += conv_bn_keys(f'{block}.pw2')
            if b % 2:
                keys += bn_keys(f'{block}.preffn_bn')
                continue
            keys += bn_keys(f'{block}.prelkb_bn')
            large = f'{block}.large_kernel'
            if deploy:
                keys += [
                    f'{large}.lkb_reparam.{n}' for n in ('weight', 'bias')
                ]
                continue
            keys += conv_bn_keys(f'{large}.lkb_origin')
            if small:
                keys += conv_bn_keys(f'{large}.small_conv')
        if norms:
            keys += bn_keys(f'stages.{s}.norm')
    return set(keys)


def reference_forward(state, x, kernel_sizes):
    """RepLKNet in plain torch functions, from the paper and a state dict."""

    def bn(x, name):
        return F.batch_norm(
            x,
            state[f'{name}.running_mean'],
            state[f'{name}.running_var'],
            state[f'{name}.weight'],
            state[f'{name}.bias'],
        )

    def conv_bn(x, name, stride=1):
        weight = state[f'{name}.conv.weight']
        groups = x.size(1) if weight.size(1) == 1 else 1
        x = F.conv2d(
            x,
            weight,
            stride=stride,
            padding=weight.size(-1) // 2,
            groups=groups,
        )
        return bn(x, f'{name}.bn')

    for i, stride in enumerate((2, 1, 1, 2)):
        x = conv_bn(x, f'stem.{i}', stride).relu()
    outs = []
    for s in range(len(kernel_sizes)):
        if s:
            x = conv_bn(x, f'transitions.{s - 1}.0').relu()
            x = conv_bn(x, f'transitions.{s - 1}.1', 2).relu()
        b = 0
        while f'stages.{s}.blocks.{b}.pw1.conv.weight' in state:
            name = f'stages.{s}.blocks.{b}'
            if b % 2 == 0:
                y = conv_bn(bn(x, f'{name}.prelkb_bn'), f'{name}.pw1').relu()
                large = conv_bn(y, f'{name}.large_kernel.lkb_origin')
                small = conv_bn(y, f'{name}.large_kernel.small_conv')
                x = x + conv_bn((large + small).relu(), f'{name}.pw2')
            else:
                y = conv_bn(bn(x, f'{name}.preffn_bn'), f'{name}.pw1')
                x = x + conv_bn(F.gelu(y), f'{name}.pw2')
            b += 1
        outs.append(x)
    return outs


@pytest.mark.parametrize('arch', PUBLISHED)
def test_published_parameter_counts(arch):
    with torch.device('meta'):
        counts = count(RepLKNet(arch)), count(RepLKNet(arch, deploy=True))
    assert counts == PUBLISHED[arch]


@pytest.mark.parametrize('deploy', [False, True])
def test_names_are_the_released_files(deploy):
    with torch.device('meta'):
        base = RepLKNet('31B', deploy=deploy)
        large = RepLKNet('XL', deploy=deploy, norm_intermediate_features=True)
    assert set(base.state_dict()) == official_keys(deploy=deploy)
    assert set(large.state_dict()) == official_keys(
        small=False, norms=True, deploy=deploy
    )


@pytest.mark.parametrize(
    'kwargs, text',
    [
        (dict(arch='31X'), "got '31X'"),
        (dict(arch=dict(channels=(8,), depths=(1,))), 'kernel_sizes'),
        (
            dict(
                arch=dict(
                    channels=(8,), depths=(1,), kernel_sizes=(3,), kernel=3
                )
            ),
            "'kernel'",
        ),
        (
            dict(arch=dict(channels=(8, 8), depths=(1,), kernel_sizes=(3,))),
            'value per stage',
        ),
        (
            dict(arch=dict(channels=(8,), depths=(1,), kernel_sizes=(4,))),
            'odd and positive, got 4',
        ),
        (
            dict(arch=dict(channels=(8,), depths=(1,), kernel_sizes=(3,))),
            'must not exceed kernel_size',
        ),
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(out_indices=()), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
    ],
)
def test_wrong_arguments(kwargs, text):
    kwargs = {'out_indices': (0,), **kwargs}
    with pytest.raises(ValueError, match=text):
        with torch.device('meta'):
            RepLKNet(**kwargs)


def test_forward_equals_plain_torch(tiny_arch, randomise):
    model = randomise(RepLKNet(tiny_arch)).double().eval()
    x = torch.randn(2, 3, 61, 90, dtype=torch.double)
    expected = reference_forward(
        model.state_dict(), x, tiny_arch['kernel_sizes']
    )
    outs = model(x)
    assert isinstance(outs, tuple)
    assert [tuple(o.shape) for o in outs] == [
        (2, 8, 16, 23),
        (2, 12, 8, 12),
        (2, 16, 4, 6),
        (2, 20, 2, 3),
    ]
    for out, reference in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-10, atol=1e-10)


def test_norm_cfg_reaches_every_norm(tiny_arch):
    model = RepLKNet(
        tiny_arch,
        norm_cfg=dict(type='SyncBN', eps=1e-3),
        norm_intermediate_features=True,
    )
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    expected = official_keys(tiny_arch['depths'], norms=True)
    assert len(norms) == sum('running_mean' in key for key in expected)
    assert all(
        isinstance(m, nn.SyncBatchNorm) and m.eps == 1e-3 for m in norms
    )


def test_activations_follow_their_configs(tiny_arch):
    model = RepLKNet(
        tiny_arch,
        act_cfg=dict(type='LeakyReLU'),
        ffn_act_cfg=dict(type='SiLU'),
    )
    kinds = [type(m) for m in model.modules()]
    assert nn.ReLU not in kinds and nn.GELU not in kinds
    assert kinds.count(nn.SiLU) == sum(tiny_arch['depths'])
    # stem, transitions, and two in each RepLK block
    assert kinds.count(nn.LeakyReLU) == 4 + 6 + 2 * sum(tiny_arch['depths'])


def test_norm_intermediate_features(tiny_arch, randomise):
    plain = RepLKNet(tiny_arch).eval()
    normed = RepLKNet(
        tiny_arch, out_indices=(1, 3), norm_intermediate_features=True
    )
    randomise(normed).eval()
    state = normed.state_dict()
    assert 'stages.1.norm.weight' in state
    assert 'stages.0.norm.weight' not in state, 'would get no gradient'
    plain.load_state_dict(state, strict=False)
    x = torch.randn(1, 3, 64, 64)
    for i, out in zip((1, 3), normed(x), strict=True):
        torch.testing.assert_close(out, normed.stages[i].norm(plain(x)[i]))


def test_ratios(tiny_arch):
    arch = dict(tiny_arch, small_kernel=3, dw_ratio=1.5, ffn_ratio=2)
    blocks = RepLKNet(arch).stages[1].blocks
    large = blocks[0].large_kernel
    assert isinstance(large.lkb_origin.conv, DepthwiseConv2d)
    assert large.lkb_origin.conv.weight.shape == (18, 1, 11, 11)
    assert large.small_conv.conv.weight.shape == (18, 1, 3, 3)
    assert blocks[1].pw1.conv.weight.shape == (24, 12, 1, 1)


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)]
)
def test_switch_to_deploy(tiny_arch, randomise, norm, dtype, tolerance):
    kwargs = dict(norm_cfg=dict(type=norm), norm_intermediate_features=True)
    model = RepLKNet(tiny_arch, **kwargs)
    randomise(model).to(dtype).eval()
    x = torch.randn(2, 3, 64, 64, dtype=dtype)
    expected = model(x)
    model.switch_to_deploy()
    once = model.state_dict()
    model.switch_to_deploy()
    assert (
        set(once)
        == set(model.state_dict())
        == official_keys(tiny_arch['depths'], norms=True, deploy=True)
    )
    deployed = RepLKNet(tiny_arch, deploy=True, **kwargs).to(dtype).eval()
    deployed.load_state_dict(model.state_dict())
    for out, again, reference in zip(
        model(x), deployed(x), expected, strict=True
    ):
        assert (out - reference).norm() <= tolerance * reference.norm()
        assert torch.equal(out, again)


def test_starts_from_mmpretrain_weights(tiny_arch, tmp_path):
    """Their layout: a prefix, and the classifier's BN under the stage."""
    source = RepLKNet(tiny_arch)
    state = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    state['backbone.stages.3.norm.weight'] = torch.rand(20)
    state['head.fc.weight'] = torch.rand(10, 20)
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=state), path)
    model = RepLKNet(
        tiny_arch,
        init_cfg=dict(
            type='Pretrained', checkpoint=str(path), prefix='backbone.'
        ),
    )
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
