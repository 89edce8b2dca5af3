"""Focal losses with the interface of ``mmcv._ext``.

The sigmoid loss computes logarithms from the logits, so it keeps growing where
a probability rounds to 1. A weight for each class is optional (empty for
none); targets without a class, such as background, have the weight 1.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Sigmoid focal loss of each class.

    Args:
        input (Tensor): Logits. Shape (N, C).
        target (Tensor): Class of each row, C for background. Shape (N, ).
        weight (Tensor): Weight of each class, shape (C, ) or empty.
        output (Tensor): Receives the loss. Shape (N, C).
        gamma (float): Exponent of the modulating factor.
        alpha (float): Weight of positives against negatives.
    """
    sign, balance, logits = _signed(input, target, weight, alpha)
    wrong = (-sign * logits).sigmoid_()
    loss = -balance * wrong**gamma * F.logsigmoid(sign * logits)
    output.copy_(loss)


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of :func:`sigmoid_focal_loss_forward`, into ``grad_input``."""
    sign, balance, logits = _signed(input, target, weight, alpha)
    right = (sign * logits).sigmoid_()
    wrong = (-sign * logits).sigmoid_()
    slope = gamma * right * F.logsigmoid(sign * logits) - wrong
    grad_input.copy_(sign * balance * wrong**gamma * slope)


def softmax_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Softmax focal loss of each row.

    Args:
        input (Tensor): Softmax. Shape (N, C).
        target (Tensor): Class of each row; negative ones are ignored.
            Shape (N, ).
        weight (Tensor): Weight of each class, shape (C, ) or empty.
        output (Tensor): Receives the loss. Shape (N, ).
        gamma (float): Exponent of the modulating factor.
        alpha (float): Factor of the loss.
    """
    right, scale = _right_softmax(input, target, weight, alpha)
    output.copy_(-scale * (1 - right) ** gamma * _log(right))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient with respect to logits; ``buff`` (N, ) is working space."""
    right, scale = _right_softmax(input, target, weight, alpha)
    wrong = 1 - right
    slope = -(wrong**gamma)
    if gamma:
        # a right answer has log 0, even where the power is infinite
        power = wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** (gamma - 1)
        slope += gamma * power * right * _log(right)
    buff.copy_(scale * slope)
    grad_input.copy_(-(scale * slope)[:, None] * input)
    rows = (target >= 0).nonzero()[:, 0]
    grad_input[rows, target[rows]] += buff[rows]


def _signed(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """Sign (1 for the class, else -1), factor, and logits of each term."""
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    classes = torch.arange(input.size(1), device=input.device)
    positive = target[:, None] == classes
    sign = positive.to(logits.dtype).mul_(2).sub_(1)
    share = logits.new_tensor([1 - alpha, alpha])
    balance = share[positive.long()]
    if weight.numel():
        balance *= _weight_of(target, weight)[:, None]
    return sign, balance, logits


def _right_softmax(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> Tuple[Tensor, Tensor]:
    """Softmax of the right class and factor for each row."""
    softmax = input.to(torch.promote_types(input.dtype, torch.float32))
    right = softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]
    scale = alpha * (target >= 0).to(softmax.dtype)
    if weight.numel():
        scale = scale * _weight_of(target, weight)
    return right, scale


def _weight_of(target: Tensor, weight: Tensor) -> Tensor:
    """Weight of each target's class, or 1 for targets without a class."""
    is_class = (target >= 0) & (target < weight.numel())
    return torch.where(is_class, weight[target * is_class], 1.0)


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(torch.float32).tiny).log()
