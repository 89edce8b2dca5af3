"""WBMM's published rows: UniRepLKNet's recipes with another block."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmrep.models import UniRepLKNet

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = [
    f'{method}_wbmm-{size}_{data}'
    for method, data in (('upernet', 'ade20k'), ('cascade-mask-rcnn', 'coco'))
    for size in 'ts'
]


def test_every_published_row_is_there():
    found = {p.stem for p in CONFIGS.glob('*wbmm-*.py')}
    assert {name for name in found if 'tiny' not in name} == set(NAMES)


def test_small_config():
    """UniRepLKNet-F's recipe, channels and depths, so the two compare."""
    cfg, other = (
        Config.fromfile(CONFIGS / f'upernet_{name}-tiny_camvid.py').to_dict()
        for name in ('wbmm', 'unireplknet')
    )
    arch = cfg['model']['backbone'].pop('arch')
    published = UniRepLKNet.arch_settings[
        other['model']['backbone'].pop('arch')
    ]
    assert {k: v for k, v in published.items() if k != 'kernel_sizes'} == {
        k: v for k, v in arch.items() if k != 'kernel_sizes'
    }
    assert cfg['model']['backbone'].pop('type') == 'mmrep.WBMM'
    other['model']['backbone'].pop('type')
    assert cfg == other


@pytest.mark.parametrize('name', NAMES)
def test_published_recipe(name):
    """The authors changed the backbone only, and so do the configs."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    other = Config.fromfile(
        CONFIGS / f'{name.replace("wbmm", "unireplknet")}.py'
    )
    backbone = cfg.model.backbone
    assert backbone.type == 'mmrep.WBMM'
    size = name.partition('wbmm-')[2][0]
    file = backbone.init_cfg.checkpoint.rpartition('/')[2]
    assert file == f'wbmm_{size}_in1k_224_dense_w7.pth'
    assert backbone.arch == size.upper()
    other.model.backbone.type = 'mmrep.WBMM'
    other.model.backbone.init_cfg.checkpoint = backbone.init_cfg.checkpoint
    other.checkpoint = cfg.checkpoint
    assert cfg.to_dict() == other.to_dict()
