import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
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
# (size, dilation) beside a kernel, from the authors' file
BRANCHES = {
    17: [(5, 1), (7, 1), (9, 2), (3, 4), (3, 5), (3, 7)],
    15: [(5, 1), (7, 1), (7, 2), (3, 3), (3, 5), (3, 7)],
    13: [(5, 1), (7, 1), (7, 2), (3, 3), (3, 4), (3, 5)],
    9: [(5, 1), (7, 1), (5, 2), (3, 3), (3, 4)],
    7: [(5, 1), (3, 1), (3, 2), (3, 3)],
}
PARTS = (
    ('patch_embed1', 'blocks1'),
    ('patch_embed2', 'blocks2'),
    ('patch_embed3', 'blocks3'),
    ('patch_embed4', 'blocks4'),
    ('high_level_proj', 'sub_blocks3'),
    ('patch_embedx', 'sub_blocks4'),
)


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


def affine(*prefixes):
    return [f'{p}.{leaf}' for p in prefixes for leaf in ('weight', 'bias')]


def bn(*prefixes):
    leaves = ('running_mean', 'running_var', 'num_batches_tracked')
    extra = [f'{p}.{leaf}' for p in prefixes for leaf in leaves]
    return affine(*prefixes) + extra


def kernel_keys(prefix, size, deploy):
    keys = [f'{prefix}.lk_origin.weight']
    if deploy:
        return [*keys, f'{prefix}.lk_origin.bias']
    keys += bn(f'{prefix}.origin_bn')
    for k, r in BRANCHES[size]:
        keys += [f'{prefix}.dil_conv_k{k}_{r}.weight']
        keys += bn(f'{prefix}.dil_bn_k{k}_{r}')
    return keys


def official_keys(arch, deploy=False, overview=False):
    """Names in the authors' downstream files, from their description."""
    keys = []
    for conv, norm in ((0, 1), (3, 4), (6, 7), (9, 10)):
        keys += [f'patch_embed1.{conv}.weight', *bn(f'patch_embed1.{norm}')]
    for down in (
        'patch_embed2',
        'patch_embed3',
        'patch_embed4',
        'patch_embedx.x_proj',
        'patch_embedx.h_proj',
    ):
        keys += [f'{down}.0.weight', *bn(f'{down}.1')]
    keys += affine('high_level_proj')
    for stage, depth in enumerate(arch['depths']):
        for i in range(depth):
            block = f'blocks{stage + 1}.{i}'
            layers = ['dwconv', *(f'proj.{i}' for i in (0, 4, 6, 8))]
            layers += ['proj.3.proj.1', 'proj.3.proj.3']
            layers += ['ls'] if stage >= 2 else []
            keys += affine(*(f'{block}.{layer}' for layer in layers))
            keys += [f'{block}.proj.7.gamma', f'{block}.proj.7.beta']
            keys += bn(f'{block}.proj.2')
            size = arch['kernel_sizes'][stage]
            keys += kernel_keys(f'{block}.proj.1', size, deploy)
    for stage, depth in enumerate(arch['focus_depths']):
        for i in range(depth):
            block = f'sub_blocks{stage + 3}.{i}'
            layers = ['dwconv1', 'dwconv2', 'norm1', 'norm2', 'ls1', 'ls2']
            layers += ['fusion.0', 'fusion.3', 'mlp.0', 'mlp.2', 'mlp.4']
            layers += ['se_layer.proj.1', 'se_layer.proj.3', 'proj.1']
            layers += ['weight_proj']
            if (stage, i) != (0, 0):
                layers += ['x_scale', 'h_scale']
            keys += affine(*(f'{block}.{layer}' for layer in layers))
            for layer in ('fusion.4', 'mlp.3'):
                keys += [f'{block}.{layer}.gamma', f'{block}.{layer}.beta']
            convs = [(f'{w}.0', f'{w}.1') for w in ('dyconv_proj', 'gate')]
            convs += [('weight_query.0', 'weight_query.1')]
            convs += [('weight_key.1', 'weight_key.2')]
            for conv, norm in convs:
                keys += [f'{block}.{conv}.weight', *bn(f'{block}.{norm}')]
            keys += bn(f'{block}.fusion.1', f'{block}.proj.0')
            keys += bn(f'{block}.lepe.1')
            keys += [f'{block}.rpb1', f'{block}.rpb2']
            size = arch['kernel_sizes'][stage + 2]
            keys += kernel_keys(f'{block}.lepe.0', size, deploy)
    for i in range(5 if overview else 4):
        keys += affine(f'extra_norm.{i}')
    if overview:
        keys += affine('h_proj.0', 'h_proj.1')
    return set(keys)


class Reference:
    """OverLoCK in plain torch functions, from the paper and a state."""

    def __init__(self, state, arch, training=False):
        self.state, self.arch, self.training = state, arch, training

    def conv(self, x, name, stride=1, dilation=1):
        weight = self.state[f'{name}.weight']
        padding = dilation * (weight.size(-1) // 2)
        groups = x.size(1) // weight.size(1)
        bias = self.state.get(f'{name}.bias')
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def bn(self, x, name):
        names = ('running_mean', 'running_var', 'weight', 'bias')
        mean, var, weight, bias = (self.state[f'{name}.{s}'] for s in names)
        return F.batch_norm(
            x, mean.clone(), var.clone(), weight, bias, self.training
        )

    def layer_norm(self, x, name):
        var, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        return self.scale((x - mean) / (var + 1e-6).sqrt(), name)

    def scale(self, x, name):
        if f'{name}.weight' not in self.state:
            return x
        weight, bias = (self.state[f'{name}.{s}'] for s in ('weight', 'bias'))
        return x * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)

    def residual(self, x, name):
        return x + self.conv(x, name)

    def grn(self, x, name):
        norm = x.square().sum((2, 3), keepdim=True).sqrt()
        norm = norm / (norm.mean(1, keepdim=True) + 1e-6)
        gamma, beta = (self.state[f'{name}.{s}'] for s in ('gamma', 'beta'))
        return (gamma * norm + 1) * x + beta

    def se(self, x, name):
        gate = x.mean((2, 3), keepdim=True)
        gate = F.gelu(self.conv(gate, f'{name}.proj.1'))
        return x * self.conv(gate, f'{name}.proj.3').sigmoid()

    def large(self, x, name, size):
        out = self.bn(self.conv(x, f'{name}.lk_origin'), f'{name}.origin_bn')
        for k, r in BRANCHES[size]:
            branch = self.conv(x, f'{name}.dil_conv_k{k}_{r}', dilation=r)
            out = out + self.bn(branch, f'{name}.dil_bn_k{k}_{r}')
        return out

    def ffn(self, x, names):
        x = F.gelu(self.conv(x, names[0]))
        x = self.grn(self.residual(x, names[1]), names[2])
        return self.conv(x, names[3])

    def block(self, x, name, size):
        x = self.residual(x, f'{name}.dwconv')
        out = self.layer_norm(x, f'{name}.proj.0')
        out = self.bn(
            self.large(out, f'{name}.proj.1', size), f'{name}.proj.2'
        )
        out = self.se(out, f'{name}.proj.3')
        out = self.ffn(out, [f'{name}.proj.{i}' for i in (4, 6, 7, 8)])
        return self.scale(x, f'{name}.ls') + out

    def average(self, attention, value, size):
        """NATTEN's product, a position at a time."""
        height, width = value.shape[3:]
        rows = []
        for i in range(height):
            top = min(max(i - size // 2, 0), height - size)
            row = []
            for j in range(width):
                left = min(max(j - size // 2, 0), width - size)
                window = value[
                    ..., top : top + size, left : left + size
                ].flatten(3)
                weights = attention[:, :, i * width + j]
                row.append((window * weights.unsqueeze(2)).sum(-1))
            rows.append(torch.stack(row, -1))
        return torch.stack(rows, -2)

    def bias(self, table, height, width):
        """Of each pair of positions, looked up by their offset."""
        size = (table.size(-1) + 1) // 2
        found = []
        for i in range(height):
            for j in range(width):
                top = min(max(i - size // 2, 0), height - size) - i + size - 1
                left = min(max(j - size // 2, 0), width - size) - j + size - 1
                window = table[:, top : top + size, left : left + size]
                found.append(window.flatten(1))
        return torch.stack(found, 1)

    def dynamic(self, x, context, overview, name, size, heads):
        if f'{name}.x_scale.weight' in self.state:
            context = self.scale(context, f'{name}.x_scale')
            context = context + self.scale(overview, f'{name}.h_scale')
        channels = x.size(1)
        joint = self.residual(torch.cat([x, context], 1), f'{name}.dwconv1')
        normed = self.layer_norm(joint, f'{name}.norm1')
        x = self.conv(normed, f'{name}.fusion.0')
        x = F.gelu(self.bn(x, f'{name}.fusion.1'))
        x = self.grn(self.conv(x, f'{name}.fusion.3'), f'{name}.fusion.4')
        gate = self.conv(x, f'{name}.gate.0')
        gate = F.silu(self.bn(gate, f'{name}.gate.1'))
        large = self.large(x, f'{name}.lepe.0', size)
        large = self.bn(large, f'{name}.lepe.1')

        own = x.shape[2:]
        if min(own) < size:
            height, width = own
            if height < width:
                larger = size, int(size / height * width)
            else:
                larger = int(size / width * height), size
            x, normed = (
                F.interpolate(m, larger, mode='bilinear') for m in (x, normed)
            )
        height, width = x.shape[2:]
        query = self.conv(normed[:, :channels], f'{name}.weight_query.0')
        query = self.bn(query, f'{name}.weight_query.1')
        key = F.adaptive_avg_pool2d(normed[:, channels:], 7)
        key = self.conv(key, f'{name}.weight_key.1')
        key = self.bn(key, f'{name}.weight_key.2')
        query = query.unflatten(1, (heads, -1)).flatten(3)
        key = key.unflatten(1, (heads, -1)).flatten(3)
        scale = (channels // heads) ** -0.5
        likeness = torch.einsum('bgcn,bgcl->blgn', scale * query, key)
        kernels = self.conv(likeness, f'{name}.weight_proj')
        kernels = kernels.permute(0, 2, 3, 1).split([25, size**2], -1)
        halves = x.unflatten(1, (2, heads, -1)).unbind(1)
        outs = []
        for i, k in enumerate((5, size)):
            bias = self.bias(self.state[f'{name}.rpb{i + 1}'], height, width)
            attention = (kernels[i] + bias).softmax(-1)
            outs.append(self.average(attention, halves[i], k).flatten(1, 2))
        out = torch.cat(outs, 1)
        if out.shape[2:] != own:
            out = F.adaptive_avg_pool2d(out, own)
        out = self.conv(out, f'{name}.dyconv_proj.0')
        out = self.bn(out, f'{name}.dyconv_proj.1') + large
        out = self.bn(
            gate * self.se(out, f'{name}.se_layer'), f'{name}.proj.0'
        )
        out = self.conv(out, f'{name}.proj.1')
        joint = self.scale(joint, f'{name}.ls1') + out
        joint = self.residual(joint, f'{name}.dwconv2')
        out = self.layer_norm(joint, f'{name}.norm2')
        out = self.ffn(out, [f'{name}.mlp.{i}' for i in (0, 2, 3, 4)])
        joint = self.scale(joint, f'{name}.ls2') + out
        return joint[:, :channels], joint[:, channels:]

    def down(self, x, name):
        return self.bn(self.conv(x, f'{name}.0', 2), f'{name}.1')

    def blocks(self, x, stage):
        for i in range(self.arch['depths'][stage]):
            size = self.arch['kernel_sizes'][stage]
            x = self.block(x, f'blocks{stage + 1}.{i}', size)
        return x

    def focus(self, x, context, overview, stage):
        for i in range(self.arch['focus_depths'][stage]):
            x, context = self.dynamic(
                x,
                context,
                overview,
                f'sub_blocks{stage + 3}.{i}',
                self.arch['kernel_sizes'][stage + 2],
                2 * self.arch['focus_heads'][stage],
            )
        return x, context

    def __call__(self, x):
        for i, stride in enumerate((2, 1, 2, 1)):
            x = self.conv(x, f'patch_embed1.{3 * i}', stride)
            x = self.bn(x, f'patch_embed1.{3 * i + 1}')
            x = F.gelu(x) if i < 3 else x
        x = self.blocks(x, 0)
        outs = [self.layer_norm(x, 'extra_norm.0')]
        x = self.blocks(self.down(x, 'patch_embed2'), 1)
        outs.append(self.layer_norm(x, 'extra_norm.1'))
        x = self.blocks(self.down(outs[1], 'patch_embed3'), 2)
        seen = self.blocks(self.down(x, 'patch_embed4'), 3)
        overview = self.conv(seen, 'high_level_proj')
        wide = F.interpolate(overview, x.shape[2:], mode='bilinear')
        x, context = self.focus(x, wide, wide, 0)
        out = torch.cat([x, context], 1)
        outs.append(self.layer_norm(out, 'extra_norm.2'))
        x = self.down(x, 'patch_embedx.x_proj')
        context = self.down(context, 'patch_embedx.h_proj')
        x, context = self.focus(x, context, overview, 1)
        out = torch.cat([x, context], 1)
        out = self.layer_norm(out, 'extra_norm.3')
        if 'h_proj.0.weight' in self.state:
            seen = self.layer_norm(seen, 'extra_norm.4')
            seen = self.conv(seen, 'h_proj.0')
            out = out + self.scale(seen, 'h_proj.1')
        return [*outs, out]


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
        (dict(kernel_sizes=(17, 15, 8, 7)), 'published branches, got 8'),
        (dict(kernel_sizes=(17, 15, 9)), 'value per stage'),
        (
            dict(depths=(1, 1), channels=(8, 8), kernel_sizes=(7, 7)),
            '4 stages',
        ),
        (dict(focus_depths=(2,)), 'focus_depths must be 2'),
        (dict(focus_heads=(2, 2, 2)), 'focus_heads must be 2'),
        (dict(focus_heads=(3, 4)), '16 channels and 6 heads'),
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


@pytest.mark.parametrize(
    'indices, built', [((0,), 1), ((1,), 2), ((0, 2), 5), ((2, 3), 6)]
)
def test_out_indices(arch, randomise, indices, built):
    full = randomise(OverLoCK(arch)).eval()
    model = OverLoCK(arch, out_indices=indices).eval()
    for i, part in enumerate(PARTS):
        assert all(hasattr(model, name) is (i < built) for name in part)
    found = model.load_state_dict(full.state_dict(), strict=False)
    assert not found.missing_keys
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        outs, expected = model(x), full(x)
    assert len(outs) == len(indices)
    for i, out in zip(indices, outs, strict=True):
        torch.testing.assert_close(out, expected[i])
    if len(indices) > 1 or indices == (0,):
        sum(out.pow(3).mean() for out in model.train()(x)).backward()
        assert all(p.grad is not None for p in model.parameters())


def test_drop_path_grows_linearly_per_block(arch):
    model = OverLoCK(arch, drop_path_rate=0.5, norm_eval=True)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    blocks = 5 + 6
    assert rates == pytest.approx([0.05 * i for i in range(blocks)])
    x = torch.randn(4, 3, 64, 64)
    model.train()
    assert not torch.equal(model(x)[-1], model(x)[-1])
    model.eval()
    assert torch.equal(model(x)[-1], model(x)[-1])


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN'])
def test_norm_cfg_reaches_every_norm(arch, norm_type):
    model = OverLoCK(arch, norm_cfg=dict(type=norm_type, eps=1e-3))
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == sum('running_mean' in k for k in official_keys(arch))
    sync = norm_type == 'SyncBN'
    assert all(isinstance(m, nn.SyncBatchNorm) is sync for m in norms)
    assert all(m.eps == 1e-3 for m in norms)


def test_with_cp_changes_memory_only(arch, randomise):
    model = randomise(OverLoCK(arch))
    saving = OverLoCK(arch, with_cp=True)
    saving.load_state_dict(model.state_dict())
    calls = []
    for _, blocks in PARTS:
        for block in getattr(saving, blocks):
            block.register_forward_pre_hook(lambda *args: calls.append(1))
    x = torch.randn(2, 3, 64, 64)
    for m in (model, saving):
        sum(out.square().mean() for out in m(x)).backward()
    assert len(calls) == 22, 'each block must run again in the backward pass'
    for (name, p), q in zip(
        model.named_parameters(), saving.parameters(), strict=True
    ):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    for (name, a), b in zip(
        model.named_buffers(), saving.buffers(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3, 4, 6])
def test_frozen_stages(arch, frozen_stages):
    model = OverLoCK(arch, frozen_stages=frozen_stages).train()
    names = [('patch_embed1', 0), ('blocks1', 1), ('extra_norm', 9)]
    for i, part in enumerate(PARTS[1:], start=2):
        names += [(name, i) for name in part]
    for name, frozen_from in names:
        part = getattr(model, name)
        frozen = frozen_stages >= frozen_from
        assert part.training is not frozen, name
        assert all(p.requires_grad is not frozen for p in part.parameters())


def test_norm_eval(arch):
    model = OverLoCK(arch, norm_eval=True).train()
    before = copy.deepcopy(dict(model.named_buffers()))
    model(torch.randn(2, 3, 64, 64))
    assert model.blocks1.training
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


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


def test_found_from_mmseg(arch):
    from mmseg.registry import MODELS

    cfg = dict(type='mmrep.OverLoCK', arch=arch)
    assert isinstance(MODELS.build(cfg), OverLoCK)


@pytest.mark.slow
@pytest.mark.parametrize(
    'dynamic, size',
    [(False, (96, 160)), (True, (96, 160)), (True, (288, 320))],
)
def test_onnx(randomise, tmp_path, dynamic, size):
    """Maps below and above the large kernel, by one file if dynamic."""
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
    done = export_onnx(exportable(model), out, size, dynamic)
    assert all(
        d.relative < 1e-4 for found in done.differences.values() for d in found
    )
