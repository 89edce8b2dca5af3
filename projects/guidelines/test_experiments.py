"""The guidelines' experiments: what they train, and what comes out."""

import json
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.ops import DepthwiseConv2d
from mmrep.ops.benchmark import Clock
from projects.guidelines.experiments import (
    KERNELS,
    METHODS,
    PUBLISHED_MS,
    TABLES,
    draw,
    markdown,
    stack_latency,
)

HERE = Path(__file__).parent
CONFIGS = HERE / 'configs'
ROWS = [
    pytest.param(n, row, id=f'{n}-{row.key}')
    for n, table in TABLES.items()
    for row in table.rows
]


def backbone(guideline, row, full=False):
    """The model of a row, from the options as the command line has them."""
    name = TABLES[guideline].config + ('' if full else '-128x128')
    options = {
        key: DictAction._parse_iterable(value)
        for key, value in row.options.items()
    }
    cfg = load_config(f'{CONFIGS}/{name}.py', options)
    return build_model(cfg, meta=True).backbone


@pytest.mark.parametrize('guideline, row', ROWS)
def test_rows_are_what_they_are_called(guideline, row):
    model = backbone(guideline, row)
    large = [
        m
        for m in model.modules()
        if isinstance(m, DepthwiseConv2d) and m.kernel_size[0] >= 3
    ]
    sizes = {m.kernel_size[0] for m in large}
    if guideline == 4:
        expected = {int(k) for k in row.name.split('-')}
        # the parallel 5x5, where there is room
        assert sizes - {5} == expected
        assert (5 in sizes) == (3 not in expected)
        return
    kernel, _, _ = row.name.partition('x')
    branch = {3} if '3x3 branch' in row.name or guideline == 5 else set()
    assert sizes == {int(kernel)} | branch
    shortcuts = any(b.shortcut for s in model.stages for b in s)
    assert shortcuts == ('no shortcut' not in row.name)
    if guideline == 5:
        assert {
            m.kernel_size[0]
            for m in model.stages[:6].modules()
            if isinstance(m, DepthwiseConv2d)
        } == {3}


@pytest.mark.parametrize('guideline', TABLES)
def test_tables(guideline):
    table = TABLES[guideline]
    keys = [row.key for row in table.rows]
    assert len(set(keys)) == len(keys)
    assert all(len(row.paper) <= len(table.metrics) for row in table.rows)
    assert (CONFIGS / f'{table.config}.py').is_file()


def test_rows_of_two_tables_with_one_key_are_one_model():
    found = {}
    for guideline in (2, 3, 5):
        for row in TABLES[guideline].rows:
            assert found.setdefault(row.key, row.options) == row.options
    assert len(found) == 10


def test_published_latency():
    for rows in PUBLISHED_MS.values():
        assert {len(row) for row in rows.values()} == {len(KERNELS)}
    # from 49.5 % of RepLKNet's latency to 12.3 %, and 7.2 times at 31
    ratio = PUBLISHED_MS[64]['PyTorch'][-1] / PUBLISHED_MS[64]['theirs'][-1]
    assert ratio == pytest.approx(7.16, abs=0.01)


def latency():
    rows = [
        {'size': size, 'kernel': k, 'ms': dict.fromkeys(METHODS, 6.0)}
        for size in (16, 32)
        for k in (3, 31)
    ]
    rows[-1]['ms']['mmrep'] = 2.0
    return {'guideline': 1, 'device': 'cpu', 'rows': rows}


def scores():
    return {
        'guideline': 2,
        'published': 'Table 2',
        'metrics': ['ImageNet top-1'],
        'rows': [
            {'name': '3x3', 'paper': [71.76], 'mIoU': [30.0, 32.0]},
            {'name': '9x9', 'paper': [None], 'mIoU': [31.0]},
        ],
    }


def test_markdown_of_scores():
    assert markdown(scores()).splitlines()[2:] == [
        '| 3x3 | 31.00 ± 1.41 (2) | 71.76 |',
        '| 9x9 | 31.00 (1) |  |',
    ]


def test_markdown_of_latency():
    lines = markdown(latency()).splitlines()
    assert lines[0] == '| maps | ms | 3x3 | 31x31 |'
    assert lines[-2] == '|  | mmrep faster by | 1.0 | 3.0 |'
    assert lines[-1] == '|  | paper: faster by | 1.0 | 7.6 |'


@pytest.mark.parametrize('result', [latency(), scores()])
def test_plot(result, tmp_path):
    draw(result, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')


def test_stack_latency():
    times = stack_latency(8, 5, 1, 4, Clock('cpu', 0.01, 3))
    assert list(times) == list(METHODS)
    assert all(ms > 0 for ms in times.values())


RESULTS = sorted((HERE / 'results').glob('*.json'))


def test_readme_is_current():
    page = (HERE / 'README.md').read_text()
    assert RESULTS
    for path in RESULTS:
        result = json.loads(path.read_text())
        assert markdown(result) in page, path.name
        n = result['guideline']
        assert (HERE / f'results/guideline_{n}.png').is_file()
