"""DepthwiseConv2d as a true nn.Conv2d, and the conversion of models."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mmrep.ops import (
    DepthwiseConv2d,
    convert_depthwise,
    depthwise_conv2d,
    module,
    use_backend,
)

from .conftest import assert_close


def twins(**kwargs):
    """The same layer as nn.Conv2d and as DepthwiseConv2d."""
    plain = nn.Conv2d(**kwargs)
    ours = DepthwiseConv2d(**kwargs)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(kernel_size=13, padding=6, groups=8),
        dict(kernel_size=(5, 31), padding=(2, 15), groups=8, bias=False),
        dict(kernel_size=13, padding='same', groups=8),
        dict(kernel_size=13, padding=6, groups=8, stride=2),
        dict(kernel_size=5, padding=6, groups=8, dilation=3),
        dict(kernel_size=13, groups=8),
        dict(kernel_size=4, padding='same', groups=8),
        dict(kernel_size=3, padding=1, groups=4),
        dict(kernel_size=3, padding=1),
        dict(kernel_size=7, padding=3, groups=8, padding_mode='reflect'),
    ],
    ids=str,
)
@pytest.mark.parametrize('batched', (True, False))
def test_same_as_conv2d(kwargs, batched):
    plain, ours = twins(in_channels=8, out_channels=8, **kwargs)
    assert isinstance(ours, nn.Conv2d)
    assert repr(ours) == repr(plain).replace('Conv2d', 'DepthwiseConv2d')
    assert list(ours.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 8, 24, 24) if batched else torch.randn(8, 24, 24)
    assert_close(ours(x), plain(x).double())


def test_backend_is_used_shown_and_copied():
    layer = DepthwiseConv2d(2, 2, 3, padding=1, groups=2, backend='fft')
    assert 'backend=fft' in repr(layer)
    x = torch.zeros(1, 2, 8, 8)
    x[0, 0, 0, 0] = float('nan')
    for other in (
        layer,
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ):
        # only an FFT spreads a NaN over the whole map
        assert other(x)[0, 0].isnan().all()


def test_a_named_backend_refuses_what_it_cannot_do():
    with pytest.raises(NotImplementedError, match='stride=\\(2, 2\\)'):
        DepthwiseConv2d(2, 2, 3, stride=2, padding=1, groups=2, backend='fft')
    with pytest.raises(ValueError, match='cutlass'):
        DepthwiseConv2d(2, 2, 3, padding=1, groups=2, backend='cutlass')


class SubclassedConv(nn.Conv2d):
    pass


def test_convert_swaps_the_eligible_layers():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 31, padding=15, groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 31, padding=15),
        nn.Conv2d(4, 4, 31, padding=15, groups=4, stride=2),
        SubclassedConv(4, 4, 31, padding=15, groups=4),
    )
    seen = []
    model[0].register_forward_hook(lambda *args: seen.append(1))
    weight = model[0].weight
    x = torch.randn(1, 4, 40, 40)
    before = model(x)
    assert convert_depthwise(model, min_kernel=7) == 1
    assert [type(m) is DepthwiseConv2d for m in model] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert model[0].weight is weight
    assert_close(model(x), before.double())
    assert seen == [1, 1]
    assert convert_depthwise(model, min_kernel=3, backend='fft') == 1
    assert (model[0].backend, model[1].backend) == ('auto', 'fft')


def test_training_step_equals_that_of_conv2d():
    plain, ours = twins(
        in_channels=6, out_channels=6, kernel_size=27, padding=13, groups=6
    )
    x = torch.randn(2, 6, 32, 32)
    for layer in (plain, ours):
        optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert_close(a.detach(), b.detach().double())


def test_module_and_function_agree():
    layer = DepthwiseConv2d(3, 3, 13, padding=6, groups=3)
    x = torch.randn(1, 3, 20, 20)
    want = depthwise_conv2d(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), want)


def test_small_work_makes_no_choice(monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError('a choice was made')

    monkeypatch.setattr(module, 'depthwise_conv2d', refused)
    layer = DepthwiseConv2d(64, 64, 9, padding=4, groups=64)
    assert layer(torch.zeros(1, 64, 14, 14)).shape == (1, 64, 14, 14)
    for size, backend in ((32, 'auto'), (14, 'fft')):
        with use_backend(backend):
            with pytest.raises(AssertionError, match='a choice'):
                layer(torch.zeros(1, 64, size, size))


def test_small_kernels_still_obey_a_named_backend():
    layer = DepthwiseConv2d(1, 1, 3, padding=1, groups=1, bias=False)
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = float('nan')
    assert not layer(x).isnan().all()
    with use_backend('fft'):
        assert layer(x).isnan().all()


def test_a_named_backend_takes_one_image():
    layer = DepthwiseConv2d(2, 2, 3, padding=1, groups=2, backend='fft')
    x = torch.zeros(2, 8, 8)
    x[0, 0, 0] = float('nan')
    out = layer(x)
    assert out.shape == x.shape
    assert out[0].isnan().all()


def test_a_layer_that_became_ineligible_says_so():
    layer = DepthwiseConv2d(2, 2, 13, padding=6, groups=2, backend='fft')
    layer.padding = (0, 0)
    with pytest.raises(NotImplementedError, match='fft'):
        layer(torch.zeros(1, 2, 20, 20))


def test_other_types_are_left_to_conv2d():
    plain, ours = twins(
        in_channels=2,
        out_channels=2,
        kernel_size=13,
        padding=6,
        groups=2,
        dtype=torch.complex64,
    )
    x = torch.randn(1, 2, 20, 20, dtype=torch.complex64)
    assert torch.equal(ours(x), plain(x))


def test_symbolic_trace_sees_one_node():
    model = nn.Sequential(
        DepthwiseConv2d(2, 2, 31, padding=15, groups=2), nn.ReLU()
    )
    traced = torch.fx.symbolic_trace(model)
    calls = [n for n in traced.graph.nodes if n.op == 'call_function']
    assert len(calls) == 1
    x = torch.randn(1, 2, 40, 40)
    assert torch.equal(traced(x), model(x))
