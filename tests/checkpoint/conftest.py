"""State dicts in the released files' layouts, made without our models."""

import pytest
import torch

KERNELS = (13, 11, 9, 7)
TINY = dict(channels=(8, 12, 16, 20), depths=(1, 1, 2, 1), kernels=KERNELS)


def conv_bn(name, out, in_per_group, size):
    return {
        f'{name}.conv.weight': (out, in_per_group, size, size),
        **bn(f'{name}.bn', out),
    }


def bn(name, channels):
    return {
        f'{name}.{key}': (channels,)
        for key in ('weight', 'bias', 'running_mean', 'running_var')
    } | {f'{name}.num_batches_tracked': ()}


def replknet_shapes(
    channels,
    depths,
    kernels,
    small=5,
    dw_ratio=1,
    deploy=False,
    output_norms=False,
    num_classes=None,
):
    """Names and shapes of the authors' RepLKNet files.

    As the authors' replknet.py makes them: stem, transitions, blocks
    (even numbers large kernels, odd ones FFNs), classifier.
    """
    base = channels[0]
    shapes = {
        **conv_bn('stem.0', base, 3, 3),
        **conv_bn('stem.1', base, 1, 3),
        **conv_bn('stem.2', base, base, 1),
        **conv_bn('stem.3', base, 1, 3),
    }
    for i, (width, depth, kernel) in enumerate(
        zip(channels, depths, kernels, strict=True)
    ):
        dw = int(width * dw_ratio)
        for j in range(depth):
            block = f'stages.{i}.blocks.{2 * j}'
            large = f'{block}.large_kernel'
            shapes |= bn(f'{block}.prelkb_bn', width)
            shapes |= conv_bn(f'{block}.pw1', dw, width, 1)
            shapes |= conv_bn(f'{block}.pw2', width, dw, 1)
            if deploy:
                shapes[f'{large}.lkb_reparam.weight'] = (dw, 1, kernel, kernel)
                shapes[f'{large}.lkb_reparam.bias'] = (dw,)
            else:
                shapes |= conv_bn(f'{large}.lkb_origin', dw, 1, kernel)
                if small:
                    shapes |= conv_bn(f'{large}.small_conv', dw, 1, small)
            block = f'stages.{i}.blocks.{2 * j + 1}'
            shapes |= bn(f'{block}.preffn_bn', width)
            shapes |= conv_bn(f'{block}.pw1', 4 * width, width, 1)
            shapes |= conv_bn(f'{block}.pw2', width, 4 * width, 1)
        if output_norms:
            shapes |= bn(f'stages.{i}.norm', width)
        if i + 1 < len(channels):
            wide = channels[i + 1]
            shapes |= conv_bn(f'transitions.{i}.0', wide, width, 1)
            shapes |= conv_bn(f'transitions.{i}.1', wide, 1, 3)
    if num_classes:
        shapes |= bn('norm', channels[-1])
        shapes['head.weight'] = (num_classes, channels[-1])
        shapes['head.bias'] = (num_classes,)
    return shapes


def fill(shapes):
    """Random values, those of a trained BN among them."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(7)
        elif name.endswith('running_var'):
            state[name] = torch.rand(shape) + 0.5
        else:
            state[name] = torch.randn(shape) * 0.2
    return state


@pytest.fixture
def authors_state():
    """A tiny classifier of the authors', with 10 classes."""
    return fill(replknet_shapes(**TINY, num_classes=10))


@pytest.fixture
def mmpretrain_state(authors_state):
    """The same in MMPretrain's names."""
    state = {}
    for name, value in authors_state.items():
        if name.startswith('norm.'):
            name = 'stages.3.' + name
        if name.startswith('head.'):
            state['head.fc.' + name[5:]] = value
        else:
            state['backbone.' + name] = value
    return state
