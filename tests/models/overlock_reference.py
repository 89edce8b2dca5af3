"""OverLoCK in plain PyTorch, and the names of its released files."""

import torch
import torch.nn.functional as F

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
