"""tools/analysis/draw_kernels.py: kernels before and after merging."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmrep.engine import cli
from mmrep.models import RepLKNet

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/analysis/draw_kernels.py'
ARCH = dict(channels=[4, 8], depths=[1, 2], kernel_sizes=[9, 7])


@pytest.fixture
def tool():
    return SimpleNamespace(**runpy.run_path(str(TOOL)))


@pytest.fixture
def call(tool, tmp_path, monkeypatch):
    """Run it on a config and the weights of a small RepLKNet."""

    def call(out, **changes):
        model = dict(
            type='mmrep.RepLKNet', arch=ARCH, out_indices=(1,), **changes
        )
        config, weights = tmp_path / 'small.py', tmp_path / 'small.pth'
        config.write_text(f'model = {model}\n')
        torch.manual_seed(0)
        network = RepLKNet(ARCH, out_indices=(1,), **changes)
        torch.save(network.state_dict(), weights)
        argv = [str(TOOL), str(config), str(weights), '--out', str(out)]
        monkeypatch.setattr(sys, 'argv', argv)
        cli.run(tool.main)
        return network

    return call


def test_picture(tool, call, tmp_path, capsys):
    out = tmp_path / 'kernels.png'
    network = call(out)
    assert 'kernels of 2 stages' in capsys.readouterr().out
    assert cv2.imread(str(out)).shape[0] == 2 * (
        tool.SIDE + tool.TITLE + tool.GAP
    )
    layer = network.stages[0].blocks[0].large_kernel
    shown = tool.kernels_of(layer.eval().requires_grad_(False))
    assert [*shown] == ['large', 'small', 'merged']
    # the small kernel reaches the middle alone
    border = np.ones((9, 9), bool)
    border[2:7, 2:7] = False
    np.testing.assert_allclose(shown['merged'][border], shown['large'][border])
    assert (shown['small'][border] == 0).all()
    assert (shown['merged'] != shown['large'])[~border].all()


@pytest.mark.parametrize(
    'out, changes, text',
    [
        ('kernels.jpg', {}, '--out must be a .png file'),
        ('kernels.png', dict(deploy=True), 'RepLKNet in training form'),
    ],
)
def test_refusals(call, tmp_path, capsys, out, changes, text):
    with pytest.raises(SystemExit):
        call(tmp_path / out, **changes)
    assert text in capsys.readouterr().err
    assert not (tmp_path / out).exists()
