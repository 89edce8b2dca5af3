"""MMSegmentation's losses after the repair, and whether they need it."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from mmrep.compat import repair_losses

WEIGHT = [1.0, 2.0, 3.0]


@pytest.fixture(autouse=True)
def _losses():
    import mmseg.models  # noqa: F401  registers them


@pytest.fixture
def logits():
    return torch.randn(2, 3, 8, 8, requires_grad=True)


@pytest.fixture
def labels():
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[:, :2] = 255
    return labels


def binary(labels):
    return labels.where(labels == 255, labels % 2)


def build(**cfg):
    return MODELS.build(dict(cfg, type=f'mmseg.{cfg["type"]}'))


def repaired(**cfg):
    loss = build(**cfg)
    repair_losses(nn.Sequential(loss))
    repair_losses(nn.Sequential(loss))  # twice does no harm
    return loss


@pytest.mark.parametrize(
    'cfg, channels, labelled',
    [
        (dict(class_weight=WEIGHT, avg_non_ignore=True), 3, True),
        (dict(class_weight=WEIGHT, use_sigmoid=True), 3, True),
        (dict(use_sigmoid=True), 1, False),
        (dict(type='FocalLoss'), 3, True),
        (dict(type='FocalLoss'), 1, True),
    ],
)
def test_upstream_still_raises(labels, cfg, channels, labelled):
    """A failure here says that a repair can go."""
    if channels == 1:
        labels = binary(labels)
    if not labelled:
        labels[:] = 255
    loss = build(**{'type': 'CrossEntropyLoss', **cfg})
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        loss(torch.zeros(2, channels, 8, 8), labels, ignore_index=255)


def test_weighted_mean_over_labelled_pixels(logits, labels):
    loss = repaired(
        type='CrossEntropyLoss', class_weight=WEIGHT, avg_non_ignore=True
    )
    expected = F.cross_entropy(
        logits, labels, torch.tensor(WEIGHT), ignore_index=255
    )
    torch.testing.assert_close(
        loss(logits, labels, ignore_index=255), expected
    )


def test_weights_of_classes_with_sigmoid(logits, labels):
    loss = repaired(
        type='CrossEntropyLoss', class_weight=WEIGHT, use_sigmoid=True
    )
    valid = labels != 255
    one_hot = F.one_hot(labels.where(valid, torch.tensor(0)), 3).movedim(-1, 1)
    expected = F.binary_cross_entropy_with_logits(
        logits,
        one_hot.float(),
        valid[:, None].expand_as(logits).float(),
        pos_weight=torch.tensor(WEIGHT).view(3, 1, 1),
    )
    torch.testing.assert_close(
        loss(logits, labels, ignore_index=255), expected
    )


def test_one_output_without_a_labelled_pixel(labels):
    loss = repaired(type='CrossEntropyLoss', use_sigmoid=True)
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    value = loss(logits, torch.full_like(labels, 255), ignore_index=255)
    value.backward()
    assert value == 0 and not logits.grad.any()
    assert loss(logits, binary(labels), ignore_index=255) > 0


@pytest.mark.parametrize('classes', [1, 3])
@pytest.mark.parametrize('alpha', [0.25, [0.2, 0.3, 0.4]])
def test_focal_loss(labels, classes, alpha):
    alpha = alpha[:classes] if isinstance(alpha, list) else alpha
    logits = torch.randn(2, classes, 8, 8, requires_grad=True)
    if classes == 1:
        labels = binary(labels)
    loss = repaired(type='FocalLoss', alpha=alpha, gamma=2.0)
    value = loss(logits, labels, ignore_index=255)
    # the definition, pixel by pixel
    p = logits.sigmoid()
    alphas = torch.tensor(alpha).expand(classes).view(-1, 1, 1)
    first = 1 if classes == 1 else 0
    truth = torch.stack([labels == i + first for i in range(classes)], 1)
    pt = torch.where(truth, p, 1 - p)
    weight = torch.where(truth, alphas, 1 - alphas)
    each = -weight * (1 - pt) ** 2 * pt.log() * (labels != 255)[:, None]
    torch.testing.assert_close(value, each.mean())
    value.backward()
    assert not logits.grad[:, :, :2].any() and logits.grad[:, :, 2:].all()
