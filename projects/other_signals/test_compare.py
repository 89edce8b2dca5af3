"""Comparisons over seeds: every run, and what the table says of them."""

import json
import sys

import pytest

from mmrep.errors import UsageError
from projects.other_signals import compare

CONFIG = """
default_hooks = dict(checkpoint=dict(save_best={}))
model = dict(type='A')
"""
SCRIPT = """
import json, pathlib, sys
args = sys.argv[1:]
work = pathlib.Path(args[args.index('--work-dir') + 1])
seed = int(args[-1].split('=')[1])
log = work / '2026/vis_data'
log.mkdir(parents=True)
(log / 'scalars.json').write_text(json.dumps({'mse': 1.0, 'step': 1}))
(log.parent / '1.json').write_text(json.dumps({'mse': seed / 10, 'last': 3}))
(work / 'best_mse_epoch_1.pth').touch()
"""


@pytest.fixture
def configs(tmp_path, monkeypatch):
    (tmp_path / 'tools').mkdir()
    for name in ('train', 'test'):
        (tmp_path / f'tools/{name}.py').write_text(SCRIPT)
    monkeypatch.setattr(compare, 'ROOT', tmp_path)
    paths = [tmp_path / 'a.py', tmp_path / 'b.py']
    for path in paths:
        path.write_text(CONFIG.format("'mse'"))
    return paths


def start(monkeypatch, *words):
    words = ['compare.py', *map(str, words)]
    monkeypatch.setattr(sys, 'argv', words)
    compare.main()


def test_seeds(configs, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out'
    words = [*configs, '--data-root', tmp_path, '--out-dir', out]
    start(monkeypatch, *words, '--seeds', '3', '7')
    rows = json.loads((out / 'compare.json').read_text())['rows']
    assert [
        (row['config'], row['options'], row['test']['mse']) for row in rows
    ] == [
        (path.name, {'randomness.seed': str(seed)}, seed / 10)
        for path in configs
        for seed in (3, 7)
    ]
    table = (out / 'compare.md').read_text()
    assert '| a.py | 2 | 0.50 ± 0.28 | 3.00 |' in table
    assert table in capsys.readouterr().out


def test_what_cannot_be_compared(configs, tmp_path, monkeypatch):
    words = [*configs, '--data-root', tmp_path, '--out-dir', tmp_path / 'out']
    with pytest.raises(UsageError, match='use --seeds'):
        start(monkeypatch, *words, '--cfg-options', 'randomness.seed=1')
    configs[1].write_text(CONFIG.format(None))
    with pytest.raises(UsageError, match='save_best'):
        start(monkeypatch, *words)
    assert not (tmp_path / 'out').exists()
