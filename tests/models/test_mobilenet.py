import pytest
import torch
from mmengine.registry import MODELS
from mmseg.models import MobileNetV2
from torch import nn

from mmrep.models import LargeKernelMobileNetV2

# Parameters in millions of MobileNetV2 x0.75 with its classifier and another
# kernel size in the last stage, by the extended paper (arXiv 2410.08049).
PUBLISHED = {3: 2.64, 7: 2.67, 9: 2.69, 13: 2.75}


def small(**kwargs):
    return LargeKernelMobileNetV2(widen_factor=0.25, **kwargs)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('size', PUBLISHED)
def test_published_parameter_counts(size):
    with torch.device('meta'):
        model = LargeKernelMobileNetV2(0.75, (3, 3, 3, 3, 3, 3, size))
    last, features, classes = model.arch['channels'][-1], 1280, 1000
    head = last * features + 2 * features + (features + 1) * classes
    assert round((count(model) + head) / 1e6, 2) == PUBLISHED[size]


def test_is_mobilenetv2_with_small_kernels():
    """Parameters in the same order: one's load into the other."""
    model = small().double().eval()
    other = MobileNetV2(0.25).double()
    other.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    values = model.state_dict().values()
    names = other.state_dict()
    assert [v.shape for v in values] == [v.shape for v in names.values()]
    other.load_state_dict(dict(zip(names, values, strict=True)))
    x = torch.randn(1, 3, 45, 64, dtype=torch.double)
    for out, expected in zip(model(x), other(x), strict=True):
        torch.testing.assert_close(out, expected)


def test_kernel_sizes():
    model = small(kernel_sizes=(3, 5, 7, 9, 11, 13, 15), small_kernel=3)
    for size, stage in zip(range(3, 17, 2), model.stages, strict=True):
        for block in stage:
            layer = block.large_kernel
            assert layer.lkb_origin.conv.kernel_size == (size, size)
            # a branch as large as the kernel would be the kernel
            assert (layer.small_conv is None) == (size == 3)
    strides = [stage[0].large_kernel.lkb_origin.conv.stride[0]
               for stage in model.stages]  # fmt: skip
    assert strides == [1, 2, 2, 2, 1, 2, 1]


def test_shortcut():
    with_, without = small(), small(shortcut=False)
    with torch.device('meta'):
        full = LargeKernelMobileNetV2()
    # all but the first of each stage
    assert sum(b.shortcut for s in full.stages for b in s) == 17 - 7
    blocks = [b for stage in with_.stages for b in stage]
    assert not any(b.shortcut for s in without.stages for b in s)
    without.load_state_dict(with_.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with_.eval(), without.eval()
    differ = [
        not torch.equal(a, b)
        for a, b in zip(with_(x), without(x), strict=True)
    ]
    assert all(differ)
    block = blocks[2]
    assert block.shortcut
    x = torch.randn(2, block.pw2.bn.num_features, 8, 8)
    block.eval()
    nn.init.zeros_(block.pw2.bn.weight)
    assert torch.equal(block(x), x)


def test_switch_to_deploy(randomise):
    kwargs = dict(kernel_sizes=9, small_kernel=3, norm_cfg=dict(type='SyncBN'))
    model = randomise(small(**kwargs)).double().eval()
    x = torch.randn(2, 3, 50, 64, dtype=torch.double)
    expected = model(x)
    model.switch_to_deploy()
    model.switch_to_deploy()
    deployed = small(deploy=True, **kwargs).double().eval()
    deployed.load_state_dict(model.state_dict())
    assert not any('small_conv' in name for name in model.state_dict())
    for out, again, reference in zip(
        model(x), deployed(x), expected, strict=True
    ):
        torch.testing.assert_close(out, reference, rtol=1e-10, atol=1e-10)
        assert torch.equal(out, again)


def test_frozen_stages_norm_eval_and_checkpointing():
    model = small(frozen_stages=2, norm_eval=True, with_cp=True).train()
    frozen = [model.stem, *model.stages[:2]]
    for module in frozen:
        assert not any(p.requires_grad for p in module.parameters())
    assert all(p.requires_grad for p in model.stages[2:].parameters())
    assert not model.stages[4][0].pw2.bn.training
    calls = []
    model.stages[3][0].register_forward_pre_hook(lambda *a: calls.append(1))
    sum(m.sum() for m in model(torch.randn(1, 3, 32, 32))).backward()
    assert len(calls) == 2, 'with_cp recomputes a block'


def test_out_indices_and_channels():
    model = small(out_indices=(0, 3), in_channels=5).eval()
    assert len(model.stages) == 4
    shapes = [tuple(m.shape) for m in model(torch.randn(1, 5, 64, 64))]
    assert shapes == [(1, 8, 32, 32), (1, 16, 4, 4)]


@pytest.mark.parametrize(
    'kwargs, text',
    [
        (dict(kernel_sizes=(3, 5)), 'must be one size or 7 of them'),
        (dict(kernel_sizes=4), 'odd and positive, got 4'),
        (dict(small_kernel=2, kernel_sizes=5), 'odd and positive, got 2'),
        (dict(widen_factor=0), 'widen_factor'),
        (dict(out_indices=(7,)), 'out_indices'),
    ],
)
def test_wrong_arguments(kwargs, text):
    with pytest.raises(ValueError, match=text), torch.device('meta'):
        LargeKernelMobileNetV2(**kwargs)


def test_norms_and_activations_follow_their_configs():
    model = MODELS.build(
        dict(
            type='mmrep.LargeKernelMobileNetV2',
            widen_factor=0.25,
            norm_cfg=dict(type='BN', eps=1e-3),
            act_cfg=dict(type='SiLU'),
        )
    )
    kinds = [type(m) for m in model.modules()]
    # of the stem, and two in each block but the first
    assert kinds.count(nn.SiLU) == 1 + 2 * 17 - 1
    assert nn.ReLU6 not in kinds
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(m.eps == 1e-3 for m in norms)


@pytest.mark.parametrize('size', (4, 0, -1))
def test_wrong_small_kernels_beside_none_that_is_larger(size):
    with pytest.raises(ValueError, match='small_kernel must be odd'):
        LargeKernelMobileNetV2(0.25, kernel_sizes=3, small_kernel=size)
