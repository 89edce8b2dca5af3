"""WBMM against loops over windows, and its published sizes."""

import pytest
import torch

from mmrep.analysis import count
from mmrep.models import WBMM, UniRepLKNet
from mmrep.models.backbones.unireplknet import UniRepLKNetBlock
from mmrep.models.layers import WindowProduct


def product_by_loops(x, table, size):
    """Of each place with the places of its window, by their offset."""
    out = x.clone()
    height, width = x.shape[2:]
    for i in range(height):
        for j in range(width):
            top, left = i - i % size, j - j % size
            for a in range(top, min(top + size, height)):
                for b in range(left, min(left + size, width)):
                    row, column = a - i + size - 1, b - j + size - 1
                    factor = table[:, row * (2 * size - 1) + column]
                    out[:, :, i, j] += x[:, :, a, b] * factor
    return out


@pytest.mark.parametrize('shape', [(14, 7), (9, 16), (3, 5)])
@pytest.mark.parametrize('size', [7, 4])
def test_window_product(shape, size):
    """Also of sizes that the windows do not divide."""
    layer = WindowProduct(3, size).double()
    x = torch.randn(2, 3, *shape, dtype=torch.double)
    table = layer.relative_position_bias_table.detach()
    expected = product_by_loops(x, table, size)
    with torch.no_grad():
        out = layer(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('scaled', [False, True])
def test_block_switches_to_deploy(randomise, scaled):
    block = UniRepLKNetBlock(
        8,
        'W7',
        None,
        se_ratio=0.25,
        ffn_ratio=4,
        drop_path=0.0,
        layer_scale_init_value=0.5 if scaled else None,
        norm_cfg=dict(type='BN'),
        deploy=False,
    )
    randomise(block).double().eval()
    torch.nn.init.uniform_(block.act[1].beta)
    x = torch.randn(2, 8, 9, 15, dtype=torch.double)
    with torch.no_grad():
        block.is_mergeable = lambda: False
        expected = block(x)
        del block.is_mergeable
        merged = block(x)
        block.switch_to_deploy()
        out = block(x)
    torch.testing.assert_close(merged, expected)
    torch.testing.assert_close(out, expected)
    assert set(block.dwconv.state_dict()) == {
        'relative_position_bias_table',
        'relative_position_index',
        'bias',
    }


@pytest.mark.parametrize(
    'kind', ['Wx', 'W0', 'W', 'W-7', 'w7', '4', '7', 7.0, None]
)
def test_wrong_block(kind):
    arch = dict(channels=(8,), depths=(1,), kernel_sizes=((kind,),))
    with pytest.raises(ValueError, match=f"such as 'W7', got {kind!r}"):
        WBMM(arch, out_indices=(0,))


@pytest.mark.parametrize('name', ['T', 'S'])
def test_names(name):
    """UniRepLKNet's, but for the large kernels; deploy form likewise."""
    for deploy in (False, True):
        with torch.device('meta'):
            state = WBMM(name, deploy=deploy).state_dict()
            other = UniRepLKNet(name, deploy=deploy).state_dict()
        rest = {k for k in state if '.dwconv.' not in k}
        assert rest == {k for k in other if '.dwconv.' not in k}
        channels = 80 if name == 'T' else 96
        prefix = 'stages.3.2.dwconv.relative_position'
        table = state[f'{prefix}_bias_table']
        assert table.shape == (8 * channels, 169)
        assert state[f'{prefix}_index'].shape == (49, 49)
        assert 'stages.0.1.dwconv.weight' in state
        assert 'stages.0.2.dwconv.relative_position_index' in state


@pytest.mark.parametrize(
    'name, params, flops', [('T', 31.0, 4.8), ('S', 55.6, 9.0)]
)
def test_published_counts(name, params, flops):
    """Of the ImageNet classifiers, whose first stage has 3x3 kernels.

    In deploy form; FLOPs of S are 0.7 % less than published.
    """
    arch = dict(WBMM.arch_settings[name])
    arch['kernel_sizes'] = ((3, 3, 3), *arch['kernel_sizes'][1:])
    with torch.device('meta'):
        model = WBMM(arch, deploy=True).eval()
    width = arch['channels'][-1]
    head = 2 * width + 1000 * width + 1000
    head -= sum(2 * channels for channels in arch['channels'])
    found = count(model, (224, 224))
    assert round((found.params + head) / 1e6, 1) == params
    assert found.flops / 1e9 == pytest.approx(flops, rel=0.01)


def test_learns_and_is_found_from_mmdet():
    from mmdet.registry import MODELS

    arch = dict(
        channels=(8, 8, 8, 8),
        depths=(1, 1, 2, 1),
        kernel_sizes=(('W7',), (3,), ('W7', 3), ('W4',)),
    )
    model = MODELS.build(
        dict(type='mmrep.WBMM', arch=arch, layer_scale_init_value=1.0)
    )
    assert isinstance(model, WBMM)
    sum(
        out.pow(3).mean() for out in model(torch.randn(2, 3, 72, 64))
    ).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_window_product_is_exported_with_free_sizes():
    """The number of windows depends on the size of the map."""
    layer = WindowProduct(3, 7).eval()
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    x = torch.randn(2, 3, 16, 20)
    program = torch.export.export(layer, (x,), dynamic_shapes=(free,))
    for shape in ((1, 3, 16, 9), (3, 3, 15, 50)):
        x = torch.randn(shape)
        torch.testing.assert_close(program.module()(x), layer(x))
