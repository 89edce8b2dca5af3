"""Lists and dicts of a config and of its base."""

from pathlib import Path

import pytest

from mmrep.engine import load_config
from mmrep.engine.inheritance import replaced_dict
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
CASCADE = CONFIGS / 'cascade-mask-rcnn_replknet-tiny_shapes.py'
DETECTOR = CONFIGS / 'fcos_replknet-tiny_shapes.py'


def test_list_of_heads(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        f"_base_ = '{CASCADE}'\n"
        'model = dict(roi_head=dict(bbox_head=[dict(num_classes=3)] * 3))\n'
    )
    with pytest.raises(
        UsageError, match=r'bbox_head\.0 has no type: a list replaces'
    ):
        load_config(str(path))


def test_list_of_heads_as_documented(tmp_path):
    page = (CONFIGS.parent / 'docs/configs.md').read_text()
    code = page.partition("```text\n_base_ = 'cascade")[2].partition('```')[0]
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{CASCADE}'\n" + code.partition('\n')[2])
    heads = load_config(str(path)).model.roi_head.bbox_head
    assert [head.num_classes for head in heads] == [3, 3, 3]
    cfg = load_config(
        str(CASCADE), {'model.roi_head.bbox_head.1.num_classes': 3}
    )
    assert cfg.model.roi_head.bbox_head[1].num_classes == 3


def test_list_in_place_of_a_dict(tmp_path):
    path = tmp_path / 'config.py'
    base = f"_base_ = '{DETECTOR}'\n"
    path.write_text(f'{base}model = dict(bbox_head=[dict(num_classes=3)])\n')
    with pytest.raises(UsageError) as error:
        load_config(str(path))
    assert str(error.value) == (
        'model.bbox_head is a list whose items have no type, but the base '
        'config has a dict, not a list: write bbox_head=dict(...), which is '
        'merged with it.'
    )
    path.write_text(f"{base}model = dict(bbox_head=[dict(type='FCOSHead')])\n")
    assert replaced_dict(load_config(str(path))) == 'model.bbox_head'
    assert replaced_dict(load_config(str(CASCADE))) == ''
    path.write_text(f'{base}model = dict(backbone=[3])\n')
    with pytest.raises(UsageError, match=r'^model.backbone must be a dict, g'):
        load_config(str(path))
    with pytest.raises(UsageError, match='must be a dict, as the config has'):
        load_config(str(DETECTOR), {'model.bbox_head': [dict(num_classes=3)]})
