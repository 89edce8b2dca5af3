"""Values of --cfg-options: how they are read, and merged into a config."""

from pathlib import Path

import pytest

from mmrep.engine import load_config
from mmrep.engine.cli import OptionsAction
from mmrep.errors import UsageError

CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTOR = CONFIGS / 'upernet_replknet-tiny_shapes.py'


@pytest.mark.parametrize(
    'text, value',
    [
        ("{'depths': [2, 2], 'a': {'b': None}}",
         {'depths': [2, 2], 'a': {'b': None}}),
        ('dict(depths=(2,2),a=dict(b=-1.5))',
         {'depths': (2, 2), 'a': {'b': -1.5}}),
        ("[dict(type='A'),{'type':'B'}]", [{'type': 'A'}, {'type': 'B'}]),
        ('[1,2]', [1, 2]),
        ('iter_{}.pth', 'iter_{}.pth'),
        ('1e-4', 1e-4),
    ],
)  # fmt: skip
def test_options(text, value):
    assert OptionsAction._parse_iterable(text) == value


@pytest.mark.parametrize(
    'text', ['{a:1}', 'dict(1)', 'dict(a=f())', 'dict(a=', '(1,(2,3)']
)
def test_options_that_cannot_be_read(text):
    with pytest.raises(ValueError):
        OptionsAction._parse_iterable(text)


def test_dict_of_a_new_key():
    """It has no mark of what it replaces, for it replaces nothing."""
    cfg = load_config(str(SEGMENTOR), {'compile': dict(mode='default')})
    assert cfg.compile == dict(mode='default')
    cfg = load_config(str(SEGMENTOR), {'param_scheduler': dict(type='PolyLR')})
    assert cfg.param_scheduler == dict(type='PolyLR')


def test_imports_among_options(tmp_path, monkeypatch):
    options = {'custom_imports.imports': ['module_that_is_nowhere']}
    with pytest.raises(UsageError, match='module_that_is_nowhere'):
        load_config(str(SEGMENTOR), options)


def test_dict_among_options():
    arch = dict(channels=[8] * 4, depths=[1] * 4, kernel_sizes=[7, 7, 5, 5])
    big = CONFIGS / 'upernet_replknet31b_ade20k.py'
    cfg = load_config(str(big), {'model.backbone.arch': arch})
    assert dict(cfg.model.backbone.arch) == arch
    # as in a config file a dict is merged with a dict
    cfg = load_config(str(SEGMENTOR), {'model.backbone': dict(with_cp=True)})
    assert cfg.model.backbone.with_cp and cfg.model.backbone.arch
