"""WBMM's published rows: UniRepLKNet's recipes with another block."""

from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = [
    f'{method}_wbmm-{size}_{data}'
    for method, data in (('upernet', 'ade20k'), ('cascade-mask-rcnn', 'coco'))
    for size in 'ts'
]


def test_every_published_row_is_there():
    assert {p.stem for p in CONFIGS.glob('*wbmm-*.py')} == set(NAMES)


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
