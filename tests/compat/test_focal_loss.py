import mmdet.models.losses.focal_loss as mmdet_focal_loss
import pytest
import torch
import torch.nn.functional as F

GAMMAS = [0.0, 0.5, 1.0, 2.0, 3.7]


def sigmoid_reference(x, target, gamma, alpha, weight=None):
    """Loss of each class from its definition."""
    positive = F.one_hot(target, x.size(1) + 1)[:, :-1].bool()
    p = torch.where(positive, x.sigmoid(), 1 - x.sigmoid())
    balance = alpha * positive + (1 - alpha) * ~positive
    loss = -balance * (1 - p) ** gamma * p.log()
    if weight is not None:
        of_target = torch.cat([weight, weight.new_ones(1)])[target]
        loss = loss * of_target[:, None]
    return loss


def softmax_reference(x, target, gamma, alpha, weight=None):
    """Loss of each row from its definition."""
    p = x.softmax(1)[torch.arange(len(x)), target.clamp(min=0)]
    loss = -alpha * (1 - p) ** gamma * p.log()
    if weight is not None:
        loss = loss * weight[target.clamp(min=0)]
    return torch.where(target >= 0, loss, 0)


def reduced(loss, reduction):
    if reduction == 'none':
        return loss
    # mmcv's mean is over rows
    return loss.sum() / (len(loss) if reduction == 'mean' else 1)


@pytest.fixture(params=['sigmoid', 'softmax'])
def case(request, as_mmcv):
    """Operator as mmcv calls it, reference, and targets."""
    if request.param == 'sigmoid':
        # 4 is the background
        target = torch.tensor([0, 1, 2, 3, 4, 4, 0])
        return as_mmcv.sigmoid_focal_loss, sigmoid_reference, target
    target = torch.tensor([0, 1, 2, 3, 2, 1, 0])
    return as_mmcv.softmax_focal_loss, softmax_reference, target


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma', GAMMAS)
def test_against_the_definition(case, gamma, weighted, reduction):
    operator, reference, target = case
    x = torch.randn(7, 4, dtype=torch.double, requires_grad=True)
    weight = torch.rand(4, dtype=torch.double) if weighted else None
    found = operator(x, target, gamma, 0.3, weight, reduction)
    expected = reduced(reference(x, target, gamma, 0.3, weight), reduction)
    torch.testing.assert_close(found, expected)
    if reduction != 'none':
        grad = torch.autograd.grad(found, x)[0]
        expected = torch.autograd.grad(expected, x)[0]
        torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize('gamma', GAMMAS)
def test_gradcheck(case, gamma):
    operator, _, target = case
    x = torch.randn(7, 4, dtype=torch.double, requires_grad=True)
    weight = torch.rand(4, dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda x: operator(x, target, gamma, 0.25, weight, 'sum'), x
    )


def test_negative_targets(as_mmcv):
    x = torch.randn(3, 4, requires_grad=True)
    target = torch.tensor([-1, 2, -1])
    weight = torch.rand(4)
    loss = as_mmcv.softmax_focal_loss(x, target, 2.0, 0.25, weight, 'none')
    assert not loss[[0, 2]].any() and loss[1]
    as_mmcv.softmax_focal_loss(x, target, 2.0, 0.25, weight, 'sum').backward()
    assert not x.grad[[0, 2]].any() and x.grad[1].all()
    # none of the classes: all are negatives, as of the background
    found = as_mmcv.sigmoid_focal_loss(x, target, 2.0, 0.25, None, 'none')
    expected = sigmoid_reference(x, torch.tensor([4, 2, 4]), 2.0, 0.25)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('gamma', GAMMAS)
def test_confident_logits(case, gamma):
    operator, _, target = case
    x = torch.full((7, 4), -200.0)
    x[:, 1] = 200
    x.requires_grad_()
    loss = operator(x, target, gamma, 0.25, None, 'sum')
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


def test_wrong_and_confident_has_a_gradient(as_mmcv):
    x = torch.tensor([[40.0]], requires_grad=True)
    loss = as_mmcv.sigmoid_focal_loss(x, torch.tensor([1]), 2.0, 0.25)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * 40)
    assert x.grad.item() == pytest.approx(0.75)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_low_precision(case, dtype):
    operator, reference, target = case
    x = torch.randn(7, 4).to(dtype).requires_grad_()
    found = operator(x, target, 2.0, 0.25, None, 'sum')
    found.backward()
    assert found.dtype == x.grad.dtype == dtype
    exact = x.detach().double().requires_grad_()
    reference(exact, target, 2.0, 0.25).sum().backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=0, atol=0.01)


def test_none_at_all(case):
    operator = case[0]
    x = torch.zeros(0, 4, requires_grad=True)
    loss = operator(x, torch.zeros(0).long(), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0 and x.grad.shape == (0, 4)


@pytest.mark.parametrize('weighted', [False, True])
def test_as_mmdet_calls_it(as_mmcv, monkeypatch, weighted):
    """MMDetection's loss on a GPU is its own loss on a CPU."""
    monkeypatch.setattr(
        mmdet_focal_loss, '_sigmoid_focal_loss', as_mmcv.sigmoid_focal_loss
    )
    x = torch.randn(9, 4, requires_grad=True)
    target = torch.arange(9) % 5
    weight = torch.rand(9) if weighted else None
    found = mmdet_focal_loss.sigmoid_focal_loss(
        x, target, weight, gamma=1.5, alpha=0.3, avg_factor=3
    )
    one_hot = F.one_hot(target, 5)[:, :4]
    expected = mmdet_focal_loss.py_sigmoid_focal_loss(
        x, one_hot, weight, gamma=1.5, alpha=0.3, avg_factor=3
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, x), torch.autograd.grad(expected, x)
    )
