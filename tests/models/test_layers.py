from copy import deepcopy

import pytest
import torch
from torch import nn

from mmrep.errors import UsageError
from mmrep.models.layers import (
    GRN,
    DilatedReparamBlock,
    ReparamLargeKernelConv,
    checkpoint_forward,
    fold_bn,
)


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('affine', [False, True])
def test_fold_bn(randomise, bias, affine):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
    bn = nn.BatchNorm2d(6, affine=affine)
    if affine:
        randomise(bn)
    else:
        nn.init.uniform_(bn.running_mean)
    bn.eval()
    merged = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    weight, offset = fold_bn(conv, bn)
    merged.load_state_dict(dict(weight=weight, bias=offset))
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(merged(x), bn(conv(x)))


def test_merged_kernel_keeps_state(randomise):
    layer = ReparamLargeKernelConv(4, 7, 3, dict(type='BN')).half()
    layer.requires_grad_(False).eval()
    layer.lkb_origin.conv.backend = 'native'
    layer.lkb_origin.conv.autotune = True
    layer.switch_to_deploy()
    merged = layer.lkb_reparam
    assert merged.weight.dtype == merged.bias.dtype == torch.half
    assert not merged.training and not merged.weight.requires_grad
    assert merged.padding == (3, 3) and merged.groups == 4
    assert (merged.backend, merged.autotune) == ('native', True)


def test_merged_on_the_fly_by_the_layer_s_backend():
    """Only an FFT spreads a NaN over the whole map."""
    block = DilatedReparamBlock(4, 7, dict(type='BN'))
    block.eval().requires_grad_(False)
    x = torch.randn(1, 4, 20, 20)
    x[..., 0, 0] = float('nan')
    for backend, spread in (('native', False), ('fft', True)):
        block.lk_origin.backend = backend
        assert block(x)[..., -1, -1].isnan().all() == spread


def test_checkpoint_forward_backward_twice():
    """As often as a retained graph runs backward, to the same numbers."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    x = torch.randn(2, 3, 4, 4)
    found = []
    for with_cp in (False, True):
        copy = deepcopy(block)
        loss = checkpoint_forward(copy, x, with_cp).square().mean()
        params = list(copy.parameters())
        for _ in range(2):
            grads = torch.autograd.grad(loss, params, retain_graph=True)
            found.append([*grads, *copy.buffers()])
        assert copy[1].num_batches_tracked == 1 and copy[1].momentum == 0.1
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize(
    'norm',
    [nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False)],
)
def test_other_norms_cannot_be_folded(norm):
    with pytest.raises(NotImplementedError, match=type(norm).__name__) as info:
        fold_bn(nn.Conv2d(4, 4, 1), norm)
    assert isinstance(info.value, UsageError), 'which the tools print'


def test_grn_gradients():
    """Against the definition by autograd, and a channel of nothing but 0."""
    layer = GRN(6).double()
    nn.init.uniform_(layer.gamma, -1, 1)
    nn.init.uniform_(layer.beta, -1, 1)
    x = torch.randn(3, 6, 4, 5, dtype=torch.double)
    x[1, 2] = 0
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(3, 6, 4, 5, dtype=torch.double)
    for with_bias in (True, False):
        norms = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        scale = norms / (norms.mean(1, keepdim=True) + 1e-6)
        gamma, beta = (
            p.reshape(1, 6, 1, 1) for p in (layer.gamma, layer.beta)
        )
        expected = x * (1 + gamma * scale) + beta * with_bias
        out = layer(x, with_bias)
        torch.testing.assert_close(out, expected)
        with torch.no_grad():
            torch.testing.assert_close(layer(x, with_bias), expected)
        inputs = [x, layer.gamma] + [layer.beta] * with_bias
        for grad, reference in zip(
            torch.autograd.grad((out * weight).sum(), inputs),
            torch.autograd.grad((expected * weight).sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(grad, reference)
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_grn_in_half_precision():
    """Squares of 300 exceed the largest half."""
    layer = GRN(2).half()
    nn.init.ones_(layer.gamma)
    x = torch.full((1, 2, 4, 4), 300.0, dtype=torch.half)
    torch.testing.assert_close(layer(x), 2 * x)
