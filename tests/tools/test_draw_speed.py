"""The bar charts of the documentation are those of the measurements."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/draw_speed.py'


def test_files_are_current():
    done = subprocess.run(
        [sys.executable, TOOL, '--check'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_writing(tmp_path, monkeypatch):
    main = runpy.run_path(str(TOOL))['main']
    charts = {tmp_path / 'new/a.svg': '<svg>×</svg>'}
    monkeypatch.setitem(main.__globals__, 'charts', lambda: charts)
    monkeypatch.setattr('sys.argv', [str(TOOL)])
    assert main() == 0
    for path, text in charts.items():
        assert path.read_text('utf-8') == text


def test_numbers_are_those_of_the_pages():
    """Of the operator's table, which is written by hand."""
    chart = (ROOT / 'docs/assets/speed.svg').read_text()
    drawn = set(re.findall(r'([\d.]+)×</text>', chart))
    page = (ROOT / 'docs/operator.md').read_text()
    rows = re.findall(
        r'^\| 1 × \d+ × .* \| ([\d.]+) / ([\d.]+) \|$', page, re.M
    )
    assert len(rows) == 4
    assert {number for row in rows for number in row} <= drawn
