import json
import sys
from pathlib import Path

import torch

from mmrep.models.layers import neighbourhood_product

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/benchmark_neighbourhood.py'


def test_forms_are_the_same_product(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    monkeypatch.setattr(sys, 'argv', ['tool'])
    from benchmark_neighbourhood import by_shifts, by_windows

    weights = torch.randn(2, 3, 9, 11, 25)
    value = torch.randn(2, 3, 9, 11, 4)
    wanted = neighbourhood_product(weights, value, 5)
    for form in (by_shifts, by_windows):
        torch.testing.assert_close(form(weights, value, 5), wanted)


def test_table(run_tool, tmp_path):
    out = tmp_path / 'out.json'
    done = run_tool(
        TOOL, ROOT / 'configs/upernet_overlock-tiny_camvid.py',
        '--size', 64, '--repeats', 1, '--backward', '--out', out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())['rows']
    assert rows and all(min(row['ms'].values()) > 0 for row in rows)
    assert len(done.stdout.splitlines()) == 2 + len(rows)


def test_another_network(run_tool):
    config = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
    done = run_tool(TOOL, config, '--size', 64)
    assert done.returncode == 1
    assert 'has no neighbourhood product' in done.stderr
