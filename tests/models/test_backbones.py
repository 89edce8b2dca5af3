"""What every backbone does: the same tests over each of them.

What is special to one, and its outputs against an independent reference, is
in a file of its own.
"""

import copy
import itertools
from dataclasses import dataclass, field
from typing import Dict, List, Tuple

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmrep.models
from mmrep.models.backbones.unireplknet import UniRepLKNetBlock
from mmrep.models.layers import DilatedReparamBlock


@dataclass
class Backbone:
    """A backbone and what its description says of it.

    Args:
        kwargs (dict): Arguments of a small one, whose last part has a block.
        parts (list): Names of the parts in the order of computation: what
            leads to the blocks, which is the stem at first, and the blocks.
        needs (tuple): Number of parts that the map of each index needs.
    """

    kwargs: dict
    parts: List[Tuple[str, ...]]
    needs: Tuple[int, ...] = (1, 2, 3, 4)
    drops: bool = True
    ratios: Tuple[str, ...] = field(default=('ffn_ratio',))


def arch(**kwargs) -> Dict[str, dict]:
    return dict(
        arch=dict(channels=(8, 12, 16, 32), depths=(1, 1, 2, 1), **kwargs)
    )


UNIREPLKNET = [(f'downsample_layers.{i}', f'stages.{i}') for i in range(4)]
BACKBONES = {
    'RepLKNet': Backbone(
        arch(kernel_sizes=(13, 11, 9, 7)),
        [
            ('stem', 'stages.0.blocks'),
            *((f'transitions.{i}', f'stages.{i + 1}.blocks')
              for i in range(3)),
        ],
        ratios=('ffn_ratio', 'dw_ratio'),
    ),
    'UniRepLKNet': Backbone(
        dict(
            layer_scale_init_value=1.0,
            **arch(kernel_sizes=((3,), (13,), (9, 3), (7,))),
        ),
        UNIREPLKNET,
        ratios=('ffn_ratio', 'se_ratio'),
    ),
    'WBMM': Backbone(
        dict(
            layer_scale_init_value=1.0,
            **arch(kernel_sizes=(('W7',), (3,), ('W7', 3), ('W4',))),
        ),
        UNIREPLKNET,
        ratios=('ffn_ratio', 'se_ratio'),
    ),
    'OverLoCK': Backbone(
        arch(
            kernel_sizes=(17, 15, 9, 7),
            focus_depths=(4, 2),
            focus_heads=(2, 4),
        ),
        [
            ('patch_embed1', 'blocks1'),
            ('patch_embed2', 'blocks2'),
            ('patch_embed3', 'blocks3'),
            ('patch_embed4', 'blocks4'),
            ('high_level_proj', 'sub_blocks3'),
            ('patch_embedx', 'sub_blocks4'),
        ],
        needs=(1, 2, 5, 6),
        ratios=('ffn_ratio', 'focus_ffn_ratio'),
    ),
    'LargeKernelMobileNetV2': Backbone(
        dict(
            widen_factor=0.25,
            kernel_sizes=9,
            small_kernel=3,
            out_indices=(1, 2, 4, 6),
        ),
        [('stem', 'stages.0'), *((f'stages.{i}',) for i in range(1, 7))],
        needs=(1, 2, 3, 4, 5, 6, 7),
        drops=False,
        ratios=(),
    ),
}  # fmt: skip
# those whose arch is an argument
WITH_ARCH = sorted(name for name, b in BACKBONES.items() if b.ratios)
every = pytest.mark.parametrize('name', BACKBONES)


def build(name, **kwargs):
    cls = getattr(mmrep.models, name)
    return cls(**{**BACKBONES[name].kwargs, **kwargs})


def image(**kwargs):
    return torch.randn(2, 3, 64, 64, **kwargs)


def loss(model, x):
    return sum(out.square().mean() for out in model(x))


def blocks(model, name):
    for part in BACKBONES[name].parts:
        yield from model.get_submodule(part[-1])


def has(model, name):
    """Whether a part is built."""
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True


@every
@pytest.mark.parametrize(
    'kwargs, text',
    [
        (dict(out_indices=()), 'out_indices must'),
        (dict(out_indices=(9,)), r'out_indices must.*got \(9,\)'),
        (dict(frozen_stages=8), 'frozen_stages must.*got 8'),
        (dict(frozen_stages=-2), 'frozen_stages must.*got -2'),
        (dict(in_channels=0), 'in_channels must be 1 or more, got 0'),
    ],
)
def test_wrong_arguments(name, kwargs, text):
    with pytest.raises(ValueError, match=text):
        build(name, **kwargs)


@pytest.mark.parametrize('name', WITH_ARCH)
@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(channels=(8, 12, 16, 0)), 'channels must be whole.*2 or more'),
        (dict(channels=(8, 12, 1.5, 32)), 'channels must be whole'),
        (dict(channels=8), 'must each have a value per stage'),
        (dict(channels=(8, 12)), 'must each have a value per stage'),
        (dict(kernels=3), "got.*'kernels'"),
    ],
)
def test_wrong_arch(name, changes, text):
    arch = {**BACKBONES[name].kwargs['arch'], **changes}
    with pytest.raises(ValueError, match=text):
        build(name, arch=arch)


@pytest.mark.parametrize('name', WITH_ARCH)
def test_wrong_depths_and_ratios(name):
    arch = BACKBONES[name].kwargs['arch']
    for depths in ((0, 1, 2, 1), (-1, 1, 2, 1), (1, 1, 2.0, 1)):
        with pytest.raises(ValueError, match='depths must be whole'):
            build(name, arch={**arch, 'depths': depths})
    for key in BACKBONES[name].ratios:
        for ratio in (0, -1, 0.01):
            with pytest.raises(ValueError, match=f'{key} times channels'):
                build(name, arch={**arch, key: ratio})
    with pytest.raises(ValueError, match="arch must be one of.*got 'M'"):
        build(name, arch='M')
    with pytest.raises(ValueError, match='drop_path_rate must.*got 1.0'):
        build(name, drop_path_rate=1.0)


@every
def test_unknown_argument_names_the_class(name):
    text = rf"{name}.__init__\(\) got an unexpected.*'kernel'"
    with pytest.raises(TypeError, match=text):
        build(name, kernel=31)


@every
def test_found_from_every_registry(name):
    from mmdet.registry import MODELS as MMDET
    from mmengine.registry import MODELS as MMENGINE
    from mmseg.registry import MODELS as MMSEG

    cfg = dict(type=f'mmrep.{name}', **BACKBONES[name].kwargs)
    for registry in (MMENGINE, MMSEG, MMDET):
        assert type(registry.build(cfg)) is getattr(mmrep.models, name)


@every
def test_out_indices(name):
    """Parts that only later maps need are not built."""
    known = BACKBONES[name]
    every_index = tuple(range(len(known.needs)))
    full = build(name, out_indices=every_index).eval()
    for indices in ((0,), (1,), (0, 2)):
        model = build(name, out_indices=indices).eval()
        for i, part in enumerate(known.parts):
            built = i < known.needs[max(indices)]
            assert all(has(model, lead) is built for lead in part)
        found = model.load_state_dict(full.state_dict(), strict=False)
        assert not found.missing_keys
        x = image()
        with torch.no_grad():
            outs, expected = model(x), full(x)
        assert isinstance(outs, tuple) and len(outs) == len(indices)
        for i, out in zip(indices, outs, strict=True):
            torch.testing.assert_close(out, expected[i])
        if indices != (1,):  # the norm of the first map is then not used
            loss(model.train(), x).backward()
            assert all(p.grad is not None for p in model.parameters())


@every
def test_in_channels(name):
    model = build(name, in_channels=5)
    shapes = [out.shape for out in model(torch.randn(2, 5, 64, 96))]
    assert [tuple(shape[2:]) for shape in shapes] == [
        (16, 24), (8, 12), (4, 6), (2, 3)
    ]  # fmt: skip


@every
@pytest.mark.parametrize('training', [False, True])
def test_empty_batch(name, training):
    """As of a process that got no image."""
    model = build(name).train(training)
    outs = model(torch.randn(0, 3, 64, 64))
    assert [tuple(out.shape) for out in outs] == [
        (0, *out.shape[1:]) for out in model.eval()(image())
    ]


@pytest.mark.parametrize(
    'name', [name for name, b in BACKBONES.items() if b.drops]
)
def test_drop_path_grows_linearly_per_block(name):
    model = build(name, drop_path_rate=0.4, norm_eval=True)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    rates = [rate for rate, _ in itertools.groupby(rates)]
    assert len(rates) == sum(model._part_depths())
    step = 0.4 / (len(rates) - 1)
    assert rates == pytest.approx([step * i for i in range(len(rates))])
    x = torch.randn(4, 3, 64, 64)
    model.train()
    assert not torch.equal(model(x)[-1], model(x)[-1])
    model.eval()
    assert torch.equal(model(x)[-1], model(x)[-1])


@every
def test_norm_cfg_reaches_every_norm(name):
    model = build(name, norm_cfg=dict(type='SyncBN', eps=1e-3))
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)
    assert all(m.eps == 1e-3 for m in norms)


@every
def test_with_cp_changes_memory_only(name, randomise):
    model = randomise(build(name))
    saving = build(name, with_cp=True)
    saving.load_state_dict(model.state_dict())
    calls = []
    for block in blocks(saving, name):
        block.register_forward_pre_hook(lambda *args: calls.append(1))
    x = image()
    for m in (model, saving):
        loss(m, x).backward()
    count = len(list(blocks(saving, name)))
    assert len(calls) == 2 * count, 'each block must run again'
    for (key, p), q in zip(
        model.named_parameters(), saving.parameters(), strict=True
    ):
        torch.testing.assert_close(p.grad, q.grad, msg=key)
    for (key, a), b in zip(
        model.named_buffers(), saving.buffers(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=key)
    calls.clear()
    with torch.no_grad():
        saving(x)
    saving.eval()(x)
    assert len(calls) == 2 * count, 'no recomputation outside training'


@every
def test_frozen_stages(name):
    """The stem at 0, then a part more each; nothing else."""
    parts = BACKBONES[name].parts
    for frozen_stages in range(-1, len(parts) + 1):
        model = build(name, frozen_stages=frozen_stages).train()
        frozen = [p for part in parts[: max(frozen_stages, 0)] for p in part]
        if frozen_stages == 0:
            frozen = [parts[0][0]]
        prefixes = tuple(f'{lead}.' for lead in frozen)
        for key, p in model.named_parameters():
            assert p.requires_grad is not key.startswith(prefixes), key
        for key, module in model.named_modules():
            if f'{key}.' in prefixes or key.startswith(prefixes):
                assert not module.training, key
            elif not list(module.children()):
                assert module.training, key


@every
def test_norm_eval(name):
    model = build(name, norm_eval=True).train()
    before = copy.deepcopy(dict(model.named_buffers()))
    model(image())
    assert next(blocks(model, name)).training
    for key, buffer in model.named_buffers():
        assert torch.equal(buffer, before[key]), key


@every
def test_layer_depths(name):
    """From the stem to the heads, in the order of computation, without gap."""
    model = build(name)
    found = {
        key: model.get_layer_depth(f'backbone.{key}', 'backbone.')
        for key, _ in model.named_parameters()
    }
    last, count = model.get_layer_depth('decode_head.weight', 'backbone.')
    assert last == count - 1
    assert {n for _, n in found.values()} == {count}
    assert {depth for depth, _ in found.values()} | {last} == {*range(count)}
    names = [lead for part in BACKBONES[name].parts for lead in part]
    depths = [
        max(d for key, (d, _) in found.items() if key.startswith(f'{lead}.'))
        for lead in names
    ]
    assert depths[0] == 0 and depths == sorted(depths)


@every
def test_deploy_form(name, randomise, monkeypatch):
    """It equals the training form, and its weights load strictly."""
    model = randomise(build(name, norm_cfg=dict(type='SyncBN')))
    model.double().eval()
    x = image(dtype=torch.double)
    with torch.no_grad(), monkeypatch.context() as patch:
        # branch by branch, as in training: eval itself merges on the fly
        for block in (UniRepLKNetBlock, DilatedReparamBlock):
            patch.setattr(block, 'is_mergeable', lambda self: False)
        expected = model(x)
    model.switch_to_deploy()
    once = set(model.state_dict())
    model.switch_to_deploy()
    assert model.deploy and once == set(model.state_dict())
    deployed = build(name, norm_cfg=dict(type='SyncBN'), deploy=True)
    deployed.double().eval().load_state_dict(model.state_dict())
    with torch.no_grad():
        for out, again, reference in zip(
            model(x), deployed(x), expected, strict=True
        ):
            assert (out - reference).norm() <= 1e-10 * reference.norm()
            assert torch.equal(out, again)


@every
def test_switch_keeps_device_dtype_and_gradients(name):
    with torch.device('meta'):
        model = build(name).half().requires_grad_(False).eval()
    model.switch_to_deploy()
    for key, p in model.named_parameters():
        assert p.is_meta and p.dtype == torch.half, key
        assert not p.requires_grad, key
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert not any(m.training for m in convs)


@pytest.mark.slow
@every
def test_onnx(name, randomise, tmp_path):
    from mmrep.deploy.export import export_onnx
    from mmrep.deploy.exportable import exportable

    model = randomise(build(name, deploy=True)).eval()
    out = str(tmp_path / 'backbone.onnx')
    done = export_onnx(exportable(model), out, (96, 160), dynamic=True)
    assert done.dynamic
    assert all(
        d.relative < 1e-4 for found in done.differences.values() for d in found
    )
