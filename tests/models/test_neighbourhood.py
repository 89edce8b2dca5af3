"""The neighbourhood product against loops over positions, as NATTEN's."""

import numpy as np
import pytest
import torch

from mmrep.models.layers import (
    neighbourhood,
    neighbourhood_product,
    relative_bias,
)


def first_place(position, size, kernel_size):
    """NATTEN's window: centred, but shifted to lie inside."""
    start = position - kernel_size // 2
    if start < 0:
        return 0
    if start + kernel_size > size:
        return size - kernel_size
    return start


def product_by_loops(weights, value):
    """``na2d_av`` in NumPy, a position at a time."""
    height, width = value.shape[2:4]
    k = int(weights.shape[-1] ** 0.5)
    out = np.zeros_like(value)
    for i in range(height):
        for j in range(width):
            top = first_place(i, height, k)
            left = first_place(j, width, k)
            for a in range(k):
                for b in range(k):
                    weight = weights[:, :, i, j, a * k + b, None]
                    out[:, :, i, j] += weight * value[:, :, top + a, left + b]
    return out


def inputs(height, width, k, dtype=torch.double):
    weights = torch.randn(2, 3, height, width, k * k, dtype=dtype)
    # heads behind the positions in memory, as the model has them
    value = torch.randn(2, height, width, 3, 4, dtype=dtype)
    return weights, value.permute(0, 3, 1, 2, 4)


SIZES = [
    (7, 7, 7),
    (8, 13, 5),
    (13, 40, 13),
    (14, 13, 13),
    (20, 75, 3),
    (5, 65, 5),
    (4, 33, 1),
]


@pytest.mark.parametrize('elements', [1, 20_000, 1 << 30])
@pytest.mark.parametrize('size', SIZES)
def test_product(size, elements, monkeypatch):
    monkeypatch.setitem(neighbourhood.ELEMENTS, True, elements)
    weights, value = inputs(*size)
    expected = product_by_loops(weights.numpy(), value.numpy())
    out = neighbourhood_product(weights, value, size[2])
    torch.testing.assert_close(out, torch.from_numpy(expected))


@pytest.mark.parametrize('elements', [1, 20_000])
@pytest.mark.parametrize('size', SIZES[1:4])
def test_gradients(size, elements, monkeypatch):
    """Those of the product in one piece, which autograd derives."""
    monkeypatch.setitem(neighbourhood.ELEMENTS, True, elements)
    leaves = [x.requires_grad_() for x in inputs(*size)]
    found, expected = (
        torch.autograd.grad(product(*leaves, size[2]).pow(3).sum(), leaves)
        for product in (neighbourhood_product, neighbourhood._whole_product)
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('size', SIZES)
def test_product_of_graphs(size):
    weights, value = inputs(*size)
    expected = product_by_loops(weights.numpy(), value.numpy())
    traced = torch.jit.trace(
        lambda *x: neighbourhood_product(*x, size[2]), (weights, value)
    )
    torch.testing.assert_close(
        traced(weights, value), torch.from_numpy(expected)
    )


@pytest.mark.parametrize('wrong', [0, 1])
def test_one_gradient_is_enough(wrong):
    leaves = list(inputs(8, 9, 5))
    leaves[1 - wrong].requires_grad_()
    neighbourhood_product(*leaves, 5).sum().backward()
    assert leaves[wrong].grad is None
    assert leaves[1 - wrong].grad.abs().sum() > 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.half])
def test_weights_of_another_dtype(dtype):
    """As under autocast, where softmax gives float32."""
    weights, value = inputs(9, 11, 5, torch.float)
    weights = weights.softmax(-1)
    expected = neighbourhood_product(weights, value, 5)
    out = neighbourhood_product(weights, value.to(dtype), 5)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.02)


def test_memory_of_a_tile(monkeypatch):
    """No band has more than the allowed elements, where a row has not."""
    monkeypatch.setitem(neighbourhood.ELEMENTS, True, 40_000)
    weights, value = inputs(40, 70, 5)
    tiles = list(neighbourhood._tiles(value, 5))
    sizes = [tile.band(weights, 5).numel() for tile in tiles]
    assert len(sizes) > 20 and max(sizes) <= 40_000


@pytest.mark.parametrize(
    'shape, kernel_size, text',
    [
        ((1, 2, 8, 8, 16), 4, 'odd and positive, got 4'),
        ((1, 2, 8, 8, 1), -1, 'odd and positive, got -1'),
        ((1, 2, 8, 8, 24), 5, 'must fit'),
        ((1, 2, 8, 7, 25), 5, 'must fit'),
        ((1, 2, 8, 8, 81), 9, 'K = 9 or more'),
    ],
)
def test_wrong_weights(shape, kernel_size, text):
    value = torch.zeros(1, 2, 8, 8, 4)
    with pytest.raises(ValueError, match=text):
        neighbourhood_product(torch.zeros(shape), value, kernel_size)


@pytest.mark.parametrize('dims', [0, 2, 3, 4, 6])
def test_wrong_number_of_dimensions(dims):
    weights = torch.zeros((9,) * dims)
    value = torch.zeros(*weights.shape[:-1], 4)
    with pytest.raises(ValueError, match='must fit the value'):
        neighbourhood_product(weights, value, 3)
    with pytest.raises(ValueError, match='must fit the value'):
        torch.jit.trace(
            lambda *x: neighbourhood_product(*x, 3), (weights, value)
        )


@pytest.mark.parametrize('n, heads, channels', [(0, 2, 4), (1, 0, 4)])
def test_empty(n, heads, channels):
    weights = torch.ones(n, heads, 8, 9, 25, requires_grad=True)
    value = torch.ones(n, heads, 8, 9, channels, requires_grad=True)
    out = neighbourhood_product(weights, value, 5)
    assert out.shape == value.shape
    out.sum().backward()
    assert weights.grad.shape == weights.shape
    assert value.grad.shape == value.shape


@pytest.mark.parametrize('height, width', [(5, 5), (6, 9), (12, 7)])
def test_relative_bias(height, width):
    table = torch.randn(3, 9, 9)
    found = relative_bias(table, height, width)
    assert found.shape == (3, height, width, 25)
    for i in range(height):
        for j in range(width):
            top, left = first_place(i, height, 5), first_place(j, width, 5)
            for a in range(5):
                for b in range(5):
                    offset = table[:, top + a - i + 4, left + b - j + 4]
                    assert torch.equal(found[:, i, j, a * 5 + b], offset)
