import pytest
import torch
from torch import nn

from mmrep.models.layers import (
    ReparamLargeKernelConv,
    checkpoint_forward,
    fold_bn,
)


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('affine', [False, True])
def test_fold_bn(randomise_norms, bias, affine):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
    bn = nn.BatchNorm2d(6, affine=affine)
    if affine:
        randomise_norms(bn)
    else:
        nn.init.uniform_(bn.running_mean)
    bn.eval()
    merged = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    weight, offset = fold_bn(conv, bn)
    merged.load_state_dict(dict(weight=weight, bias=offset))
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(merged(x), bn(conv(x)))


def test_merged_kernel_keeps_state(randomise_norms):
    layer = ReparamLargeKernelConv(4, 7, 3, dict(type='BN')).half()
    layer.requires_grad_(False).eval()
    layer.switch_to_deploy()
    merged = layer.lkb_reparam
    assert merged.weight.dtype == merged.bias.dtype == torch.half
    assert not merged.training and not merged.weight.requires_grad
    assert merged.padding == (3, 3) and merged.groups == 4


def test_checkpoint_forward_keeps_statistics_of_frozen_norms():
    norm = nn.BatchNorm2d(3)
    block = nn.Sequential(nn.Conv2d(3, 3, 1), norm)
    x = torch.randn(2, 3, 4, 4)
    checkpoint_forward(block, x, with_cp=True).sum().backward()
    assert norm.num_batches_tracked == 1
    assert norm.track_running_stats


@pytest.mark.parametrize(
    'norm',
    [nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False)],
)
def test_other_norms_cannot_be_folded(norm):
    with pytest.raises(NotImplementedError, match=type(norm).__name__):
        fold_bn(nn.Conv2d(4, 4, 1), norm)
