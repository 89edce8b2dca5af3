import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmrep.models import RepLKNet, UniRepLKNet


class Segmentor(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.decode_head = nn.Conv2d(8, 2, 1)


def build(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            constructor='mmrep.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )


def groups_by_name(model, wrapper):
    names = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for group in wrapper.optimizer.param_groups:
        for p in group['params']:
            assert id(p) in names and names[id(p)] not in found
            found[names[id(p)]] = group
    assert set(found) == set(names.values())
    return found


def unireplknet(arch):
    with torch.device('meta'):
        return Segmentor(UniRepLKNet(arch))


# For the 27 blocks in stage 2 of S to XL: the layers of the published rule.
LARGE = {
    'backbone.downsample_layers.0.0.weight': 0,
    'backbone.downsample_layers.0.4.bias': 0,
    'backbone.stages.0.0.gamma': 1,
    'backbone.stages.0.2.se.up.weight': 1,
    'backbone.downsample_layers.1.0.weight': 2,
    'backbone.stages.1.2.dwconv.lk_origin.weight': 2,
    'backbone.downsample_layers.2.1.weight': 3,
    'backbone.stages.2.0.norm.weight': 3,
    'backbone.stages.2.2.dwconv.weight': 3,
    'backbone.stages.2.3.pwconv1.1.weight': 4,
    'backbone.stages.2.14.act.1.gamma': 7,
    'backbone.stages.2.26.pwconv2.2.bias': 11,
    'backbone.downsample_layers.3.0.bias': 12,
    'backbone.stages.3.0.act.1.beta': 12,
    'backbone.stages.3.2.pwconv2.0.weight': 12,
    'backbone.norm0.weight': 13,
    'backbone.norm3.bias': 13,
    'decode_head.weight': 13,
    'decode_head.bias': 13,
}
# For the 18 of T, whose recipe on COCO counts 12 layers and on ADE20K 9.
TINY = {
    'backbone.downsample_layers.0.0.weight': (0, 0),
    'backbone.stages.0.0.gamma': (1, 1),
    'backbone.stages.2.0.norm.weight': (3, 3),
    'backbone.stages.2.17.gamma': (8, 8),
    'backbone.downsample_layers.3.0.weight': (12, 9),
    'backbone.stages.3.2.gamma': (12, 9),
    'backbone.norm2.weight': (13, 10),
    'decode_head.weight': (13, 10),
}
# RepLKNet-31B: 18 pairs of RepLKBlock and ConvFFN in stage 2.
REPLKNET = {
    'backbone.stem.0.conv.weight': 0,
    'backbone.stem.3.bn.weight': 0,
    'backbone.stages.0.blocks.3.pw1.conv.weight': 1,
    'backbone.transitions.0.0.conv.weight': 2,
    'backbone.stages.1.blocks.0.large_kernel.lkb_origin.conv.weight': 2,
    'backbone.transitions.1.1.bn.bias': 3,
    'backbone.stages.2.blocks.5.preffn_bn.weight': 3,
    'backbone.stages.2.blocks.6.pw1.conv.weight': 4,
    'backbone.stages.2.blocks.35.pw2.conv.weight': 8,
    'backbone.transitions.2.0.conv.weight': 9,
    'backbone.stages.3.blocks.0.prelkb_bn.bias': 9,
    'backbone.stages.3.norm.weight': 10,
    'decode_head.weight': 10,
}


def check(model, wrapper, layers, last, rate):
    found = groups_by_name(model, wrapper)
    for name, layer in layers.items():
        group = found[name]
        # biases, norms and layer scales; GRN has four dimensions
        flat = ('bias', 'norm.weight', 'bn.weight', 'gamma')
        decays = not name.endswith(flat) or name.endswith('act.1.gamma')
        decays = decays and '.norm' not in name
        decays = decays and name != 'backbone.downsample_layers.2.1.weight'
        kind = 'decay' if decays else 'no_decay'
        assert group['group_name'] == f'layer_{layer}_{kind}', name
        assert group['weight_decay'] == (0.05 if decays else 0), name
        assert group['lr'] == pytest.approx(1e-4 * rate ** (last - layer))


@pytest.mark.parametrize('num_layers', [None, 12])
def test_published_groups_and_rates(num_layers):
    model = unireplknet('S')
    wrapper = build(model, decay_rate=0.9, num_layers=num_layers)
    check(model, wrapper, LARGE, 13, 0.9)
    groups = wrapper.optimizer.param_groups
    assert len(groups) == 2 * 14
    rates = {g['group_name']: g['lr'] for g in groups}
    assert rates['layer_0_decay'] == pytest.approx(1e-4 * 0.254187, rel=1e-5)
    assert rates['layer_12_decay'] == pytest.approx(9e-5)
    assert rates['layer_13_no_decay'] == pytest.approx(1e-4)


def test_recipe_that_counts_more_layers():
    """T on COCO: 12 layers, of which stage 2 has 3 to 8 and stage 3 is 12."""
    model = unireplknet('T')
    coco = {name: layers[0] for name, layers in TINY.items()}
    check(model, build(model, decay_rate=0.8, num_layers=12), coco, 13, 0.8)
    ade20k = {name: layers[1] for name, layers in TINY.items()}
    check(model, build(model, decay_rate=0.8, num_layers=9), ade20k, 10, 0.8)
    check(model, build(model, decay_rate=0.8), ade20k, 10, 0.8)


def test_replknet():
    with torch.device('meta'):
        backbone = RepLKNet('31B', norm_intermediate_features=True)
    model = Segmentor(backbone)
    check(model, build(model, decay_rate=0.7), REPLKNET, 10, 0.7)


def test_rate_one_is_a_plain_optimizer():
    model = unireplknet('A')
    groups = build(model, decay_rate=1.0).optimizer.param_groups
    assert {g['lr'] for g in groups} == {1e-4}


def test_frozen_parameters_are_left_out():
    with torch.device('meta'):
        model = Segmentor(UniRepLKNet('A', frozen_stages=2))
    groups = build(model, decay_rate=0.5).optimizer.param_groups
    layers = {int(g['group_name'].split('_')[1]) for g in groups}
    assert layers == {3, 4, 5, 6}
    trained = sum(len(g['params']) for g in groups)
    assert trained == sum(p.requires_grad for p in model.parameters())


def test_backbone_alone():
    with torch.device('meta'):
        model = UniRepLKNet('A')
    found = groups_by_name(model, build(model, decay_rate=0.5))
    # two layers in stage 2, so five in all
    group = found['downsample_layers.0.0.weight']
    assert group['lr'] == pytest.approx(1e-4 * 0.5**6)
    assert found['norm3.weight']['lr'] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    'paramwise, text',
    [
        (dict(), 'decay_rate'),
        (dict(decay_rate=0.9, decay_type='x'), 'decay_type'),
        (dict(decay_rate=0), r'\(0, 1\], got 0'),
        (dict(decay_rate=1.1), 'got 1.1'),
        (dict(decay_rate=0.9, num_layers=4), 'at least 5.*got 4'),
    ],
)
def test_wrong_options(paramwise, text):
    with pytest.raises(ValueError, match=text):
        build(unireplknet('A'), **paramwise)


def test_other_backbones_are_refused():
    with pytest.raises(TypeError, match='get_layer_depth.*got Conv2d'):
        build(Segmentor(nn.Conv2d(3, 8, 1)), decay_rate=0.9)
