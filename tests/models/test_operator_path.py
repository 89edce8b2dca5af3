"""Every block computes its depth-wise kernels by the layers' operator."""

import pytest
import torch

from mmrep.models.backbones.replknet import RepLKBlock
from mmrep.models.backbones.unireplknet import UniRepLKNetBlock
from mmrep.models.layers import DilatedReparamBlock, ReparamLargeKernelConv
from mmrep.ops import DepthwiseConv2d, choice
from mmrep.ops import module as ops_module
from mmrep.ops.backends import BACKENDS

BN = dict(type='BN')


def unireplknet(kernel_size, branches=None, scale=1e-6):
    return UniRepLKNetBlock(
        8, kernel_size, branches, 0.25, 4, 0.0, scale, BN, False
    )


BLOCKS = {
    'RepLKBlock': lambda: RepLKBlock(
        8, 8, 13, 5, 0.0, BN, dict(type='ReLU'), False
    ),
    'ReparamLargeKernelConv': lambda: ReparamLargeKernelConv(8, 13, 5, BN),
    'without a small kernel': lambda: ReparamLargeKernelConv(8, 13, None, BN),
    'stride 2': lambda: ReparamLargeKernelConv(8, 13, 5, BN, stride=2),
    'DilatedReparamBlock': lambda: DilatedReparamBlock(8, 13, BN),
    'UniRepLKNet, large': lambda: unireplknet(13),
    'UniRepLKNet, small': lambda: unireplknet(3),
    'UniRepLKNet, small with branches': lambda: unireplknet(5, ((3, 1),)),
    'UniRepLKNet, without layer scale': lambda: unireplknet(13, scale=None),
}


@pytest.fixture(params=BLOCKS)
def block(request):
    return BLOCKS[request.param]()


@pytest.fixture(params=('train', 'eval', 'deploy'))
def form(request, block):
    if request.param == 'deploy':
        for module in list(block.modules()):
            if hasattr(module, 'switch_to_deploy'):
                module.switch_to_deploy()
    return block.train(request.param == 'train')


def set_layers(block, **attributes):
    layers = [m for m in block.modules() if isinstance(m, DepthwiseConv2d)]
    assert layers
    for layer in layers:
        for name, value in attributes.items():
            setattr(layer, name, value)
    return layers


def test_a_backend_that_cannot_run_is_refused_in_every_form(form, monkeypatch):
    monkeypatch.setattr(BACKENDS['triton'], 'why_not', lambda *_: 'absent')
    choice.forget()
    set_layers(form, backend='triton')
    x = torch.randn(2, 8, 24, 24)
    with pytest.raises(NotImplementedError, match='triton'):
        form(x)
    choice.forget()


def test_autotune_reaches_the_operator_in_every_form(form, monkeypatch):
    seen = []

    def operator(x, weight, bias, backend, autotune):
        seen.append((backend, autotune))
        return convolve(x, weight, bias, backend, autotune)

    convolve = ops_module._convolve
    monkeypatch.setattr(ops_module, '_convolve', operator)
    monkeypatch.setattr(choice, 'may_measure', lambda device: False)
    layers = set_layers(form, autotune=True)
    form(torch.randn(2, 8, 24, 24))
    eligible = [layer for layer in layers if ops_module.is_eligible(layer)]
    assert set(seen) == ({('auto', True)} if eligible else set())
