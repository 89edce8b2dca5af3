import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.models.decode_heads import UPerHead
from torch import nn

from mmrep.deploy import fuse_conv_bn
from mmrep.deploy.uperhead import (
    FusedUPerHead,
    fuse_uper_heads,
    restore_uper_heads,
)


@pytest.fixture(autouse=True)
def scope():
    """The head's loss is found as MMSegmentation finds it."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def make_head(**kwargs):
    settings = dict(
        in_channels=[4, 5, 6, 7],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2),
        channels=8,
        num_classes=3,
        norm_cfg=dict(type='BN'),
    )
    return UPerHead(**{**settings, **kwargs}).eval()


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(16, 24), (13, 29), (8, 8)])
def test_results_are_those_of_the_head(randomise, align_corners, size):
    head = randomise(make_head(align_corners=align_corners)).double()
    fuse_conv_bn(head)
    maps = [
        torch.randn(2, c, -(-size[0] // 2**i), -(-size[1] // 2**i)).double()
        for i, c in enumerate(head.in_channels)
    ]
    keys = list(head.state_dict())
    with torch.no_grad():
        expected = head(maps)
        assert fuse_uper_heads(nn.ModuleList([head])) == 1
        assert fuse_uper_heads(head) == 0
        assert type(head) is FusedUPerHead
        torch.testing.assert_close(head(maps), expected)
    assert list(head.state_dict()) == keys
    restore_uper_heads(head)
    assert type(head) is UPerHead


def test_heads_that_differ_are_left_alone():
    assert fuse_uper_heads(make_head(align_corners=False)) == 0  # has norms
    other = make_head(norm_cfg=None, align_corners=False)
    other.fpn_bottleneck.conv.dilation = (2, 2)
    assert fuse_uper_heads(other) == 0


def test_fewer_multiplications():
    from torch.utils.flop_counter import FlopCounterMode

    head = make_head(norm_cfg=None, align_corners=False, channels=64)
    maps = [
        torch.randn(1, c, 32 // 2**i, 32 // 2**i)
        for i, c in enumerate(head.in_channels)
    ]
    counts = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            head(maps)
        counts.append(counter.get_total_flops())
        fuse_uper_heads(head)
    assert counts[1] < 0.65 * counts[0]
