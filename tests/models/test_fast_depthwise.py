"""Backbones of others with the operator, against themselves without."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS as MMSEG_MODELS

from mmrep.models import fast_depthwise
from mmrep.ops import DepthwiseConv2d
from mmrep.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


def pair(name):
    """The backbone of a config as it is, and with the operator."""
    config = Config.fromfile(CONFIGS / f'{name}.py').model.backbone
    plain = revert_sync_batchnorm(MODELS.build(config.backbone)).double()
    fast = revert_sync_batchnorm(MMSEG_MODELS.build(config)).double()
    return plain, fast


def check(plain, fast, layers):
    """Same class and names; equal outputs, gradients and running means."""
    assert type(fast) is type(plain)
    fast.load_state_dict(plain.state_dict())
    changed = [m for m in fast.modules() if isinstance(m, DepthwiseConv2d)]
    assert len(changed) == layers
    x = torch.randn(2, 3, 64, 96, dtype=torch.double)
    for model in (plain, fast):
        for module in model.modules():
            if hasattr(module, 'drop_prob'):
                module.drop_prob = 0.0
        model.train()
    outs, expected = fast(x), plain(x)
    for out, reference in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, reference, rtol=1e-8, atol=1e-10)
    for found in (outs, expected):
        sum(out.pow(2).mean() for out in found).backward()
    for (name, p), q in zip(
        fast.named_parameters(), plain.parameters(), strict=True
    ):
        scale = q.grad.abs().max().item()
        torch.testing.assert_close(
            p.grad, q.grad, rtol=1e-6, atol=1e-7 * scale + 1e-12, msg=name
        )


def test_segnext():
    plain, fast = pair('segnext_mscan-t_ade20k')
    check(plain, fast, 78)
    sizes = {
        max(m.kernel_size)
        for m in fast.modules()
        if isinstance(m, DepthwiseConv2d)
    }
    assert sizes == {7, 11, 21}


def test_convnext():
    pytest.importorskip('mmpretrain.models.backbones.convnext')
    check(*pair('upernet_convnext-t_ade20k'), 18)


def test_a_backbone_with_the_operator():
    arch = dict(
        channels=(8, 12, 16, 32),
        depths=(1, 1, 2, 1),
        kernel_sizes=(17, 15, 9, 7),
        focus_heads=(2, 4),
    )
    with pytest.raises(ValueError, match='OverLoCK uses the operator already'):
        fast_depthwise(dict(type='mmrep.OverLoCK', arch=arch))


def test_arguments_reach_the_layers():
    with pytest.raises(ValueError, match='ResNet has no depth-wise'):
        fast_depthwise(dict(type='mmseg.ResNet', depth=18))
    config = dict(type='mmseg.MSCAN', depths=[1, 1, 1, 1])
    model = fast_depthwise(config, min_kernel=21, backend='native')
    changed = [m for m in model.modules() if isinstance(m, DepthwiseConv2d)]
    assert len(changed) == 8
    assert all(m.backend == 'native' for m in changed)
