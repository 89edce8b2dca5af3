import copy
import math

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from mmrep.ops import DepthwiseConv2d
from mmrep.runner.optim_wrapper import (
    AmpOptimWrapper,
    NonFiniteError,
    OptimWrapper,
)


def build(kind, model, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = kind(optimizer, **kwargs)
    wrapper.initialize_count_status(model, 0, 100)
    return wrapper


@pytest.fixture
def model():
    return nn.Linear(3, 2)


def step(wrapper, model, x):
    with wrapper.optim_context(model):
        out = model(x)
        loss = out.float().square().mean()
    wrapper.update_params(loss)
    return out


def test_gradient_norm_is_logged(model):
    wrapper = build(OptimWrapper, model)
    x = torch.rand(4, 3)
    model(x).square().mean().backward()
    expected = math.sqrt(
        sum(float(p.grad.square().sum()) for p in model.parameters())
    )
    model.zero_grad()
    step(wrapper, model, x)
    hub = MessageHub.get_current_instance()
    found = hub.get_scalar('train/grad_norm').current()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('kind', [OptimWrapper, AmpOptimWrapper])
def test_non_finite(model, kind, bad):
    wrapper = build(kind, model, max_skips=2)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(4, 3)
    for _ in range(2):
        step(wrapper, model, x * bad)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    step(wrapper, model, x)  # the count begins again
    assert not torch.equal(model.weight, before['weight'])
    for _ in range(2):
        step(wrapper, model, x * bad)
    with pytest.raises(NonFiniteError, match='3 times in a row'):
        step(wrapper, model, x * bad)


def test_full_precision_stops_at_once(model):
    wrapper = build(OptimWrapper, model)
    with pytest.raises(NonFiniteError, match='loss is not finite$'):
        step(wrapper, model, torch.full((4, 3), math.nan))
    with pytest.raises(ValueError, match='max_skips must not be negative'):
        build(OptimWrapper, model, max_skips=-1)


@pytest.mark.parametrize('kind', [OptimWrapper, AmpOptimWrapper])
def test_accumulation(model, kind):
    """Two halves of a batch are the batch."""
    whole = copy.deepcopy(model)
    x = torch.rand(4, 3)
    options = {} if kind is OptimWrapper else dict(dtype='float16')
    halves = build(kind, model, accumulative_counts=2, **options)
    step(halves, model, x[:2])
    assert torch.equal(model.weight, whole.weight)
    step(halves, model, x[2:])
    wrapper = build(kind, whole, **options)
    with wrapper.optim_context(whole):
        loss = whole(x).float().square().mean()
    wrapper.update_params(loss)
    torch.testing.assert_close(model.weight, whole.weight, rtol=1e-2,
                               atol=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    'name, dtype',
    [
        ('fp16', torch.float16),
        ('bf16', torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        (None, torch.float16 if torch.cuda.is_available() else torch.bfloat16),
    ],
)
@pytest.mark.parametrize('size', [7, 31])
def test_operator_in_reduced_precision(name, dtype, size):
    conv = DepthwiseConv2d(4, 4, size, padding=size // 2, groups=4)
    expected = copy.deepcopy(conv)
    wrapper = build(AmpOptimWrapper, conv, dtype=name)
    x = torch.rand(2, 4, 16, 16)
    out = step(wrapper, conv, x)
    assert out.dtype == dtype
    assert wrapper.loss_scaler.is_enabled() == (dtype == torch.float16)
    step(build(OptimWrapper, expected), expected, x)
    torch.testing.assert_close(
        conv.weight, expected.weight, rtol=0.05, atol=0.02
    )


def test_dtype_is_checked(model):
    with pytest.raises(ValueError, match='dtype must be one of.*int8'):
        build(AmpOptimWrapper, model, dtype='int8')


def test_scale_is_resumed(model):
    wrapper = build(
        AmpOptimWrapper, model, dtype='float16',
        loss_scale=dict(init_scale=1024.0),
    )  # fmt: skip
    step(wrapper, model, torch.full((4, 3), math.inf))
    assert wrapper.loss_scaler.get_scale() == 512
    other = build(AmpOptimWrapper, nn.Linear(3, 2), dtype='float16')
    other.load_state_dict(wrapper.state_dict())
    assert other.loss_scaler.get_scale() == 512
    fixed = build(AmpOptimWrapper, model, dtype='float16', loss_scale=8.0)
    step(fixed, model, torch.rand(4, 3))
    assert fixed.loss_scaler.get_scale() == 8
