"""The paper's counts against ours, and the page that shows both."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/analysis/make_model_zoo.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('make_model_zoo', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def metafile(tool):
    return tool.load_metafile()


@pytest.fixture(scope='module')
def counts(tool, metafile):
    """On the meta device, equal models once: some ten seconds."""
    return tool.measure_all(metafile)


def rows(metafile):
    return [row for f in metafile['Families'] for row in f['Models']]


@pytest.mark.slow
def test_published_counts(metafile, counts):
    """FLOPs within 2 %; parameters, with BN folded, within rounding."""
    differ = []
    for row in rows(metafile):
        found = counts[row['Config']]
        if 'FLOPs' not in row:  # OverLoCK's authors give none downstream
            assert '_overlock' in row['Config']
            continue
        assert found['flops'] / 1e9 == pytest.approx(row['FLOPs'], rel=0.02)
        if round(found['folded'] / 1e6) != row['Params']:
            differ.append(row['Config'])
    # docs/model_zoo.md says what is known of it
    assert [name for name in differ if '_replknet' in name] == [
        'upernet_replknet31b_cityscapes'
    ]
    found = counts['upernet_replknet31b_cityscapes']
    assert found['folded'] / 1e6 == pytest.approx(110, rel=0.02)


def test_every_replknet_row_of_the_paper(metafile):
    """Tables 6 to 9: 6 classifiers, 4 + 1 segmentors, 5 detectors."""
    names = [row['Config'] for row in rows(metafile)]
    for method, number in (
        ('classifier', 6),
        ('upernet', 5),
        ('fcos', 1),
        ('cascade-mask-rcnn', 4),
    ):
        found = [n for n in names if n.startswith(f'{method}_replknet')]
        assert len(found) == number, found


def test_every_published_config_is_listed(metafile):
    listed = {row['Config'] for row in rows(metafile)}
    shipped = {path.stem for path in (ROOT / 'configs').glob('*.py')}
    # another way to train the same model
    shipped = {name for name in shipped if not name.endswith('_fsdp')}
    assert listed <= shipped
    data = ('_ade20k', '_cityscapes', '_coco', '_imagenet')
    published = {n for n in shipped if any(d in n for d in data)}
    assert {n for n in published if '_replknet' in n} <= listed


def test_files(metafile):
    """Each row names files that the table lists, and none is idle."""
    for family in metafile['Families']:
        used = set()
        for row in family['Models']:
            used |= {row[k] for k in ('Start', 'File') if k in row}
        assert used == set(family['Files'])


@pytest.mark.slow
def test_page_is_current(tool, metafile, counts):
    assert tool.PAGE.read_text() == tool.render(metafile, counts)
    assert '## Weights' in tool.PAGE.read_text()
