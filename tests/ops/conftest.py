"""Shared by the operator's tests: reference, tolerances, comparison."""

import pytest
import torch
import torch.nn.functional as F

# Largest error over the largest value of the reference, which is computed
# in double.
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def reference(x, weight, bias=None, grad=None):
    """Output of F.conv2d in double; with ``grad`` also the gradients."""
    args = [t.detach().double().requires_grad_() for t in (x, weight)]
    if bias is not None:
        args.append(bias.detach().double().requires_grad_())
    padding = weight.size(2) // 2, weight.size(3) // 2
    out = F.conv2d(*args, padding=padding, groups=x.size(1))
    if grad is None:
        return out.detach()
    return (out.detach(), *torch.autograd.grad(out, args, grad.double()))


def assert_close(got, want, dtype=None, factor=1.0):
    """Within the tolerance of a type, by default the result's own."""
    assert got.shape == want.shape
    if want.numel() == 0:
        return
    scale = want.abs().max().clamp(min=1e-6)
    error = ((got.double() - want).abs().max() / scale).item()
    assert error <= factor * TOLERANCE[dtype or got.dtype], error
