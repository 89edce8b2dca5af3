"""The guidelines' experiments: what they train, and what comes out."""

import json
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmrep.analysis.guidelines import (
    KERNELS,
    METHODS,
    PUBLISHED_MS,
    TABLES,
    draw,
    markdown,
    stack_latency,
)
from mmrep.analysis.runs import (
    RECORD,
    Training,
    best_checkpoint,
    evaluate,
    train,
)
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.ops import DepthwiseConv2d
from mmrep.ops.benchmark import Clock

ROOT = Path(__file__).parents[2]
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
    cfg = load_config(f'{ROOT}/configs/{name}.py', options)
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
    assert (ROOT / f'configs/{table.config}.py').is_file()


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


SCRIPT = """
import json, pathlib, sys
args = sys.argv[1:]
work = pathlib.Path(args[args.index('--work-dir') + 1])
if 'fail' in str(work):
    sys.exit('error: no such data')
count = len(list(work.glob('2*')))
log = work / f'2026{count}/vis_data'
log.mkdir(parents=True)
entries = [{'loss': 1.0}, {'mIoU': 10.0 + count, 'data_time': 1, 'step': 2}]
(log / 'scalars.json').write_text('\\n'.join(map(json.dumps, entries)))
metrics = {'mIoU': 20.0 + ('--aug-test' in args), 'time': 3.0}
(log.parent / '1.json').write_text(json.dumps(metrics))
(work / 'args.json').write_text(json.dumps(args))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / 'script.py'
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def training(tmp_path):
    config = tmp_path / 'a.py'
    config.write_text('lr = 1\n')
    return Training(config, tmp_path / 'run', {'x': '[1,2]'}, Path('data'))


def test_train_is_done_once(training, script):
    assert train(training, script) == {'mIoU': 10.0, 'step': 2}
    args = json.loads((training.work_dir / 'args.json').read_text())
    assert args[:2] == [str(training.config), '--resume']
    assert args[-2:] == ['--cfg-options', 'x=[1,2]']
    assert args[args.index('--data-root') + 1] == 'data'
    assert '--amp' not in args
    command = training._replace(amp='bf16').command(script)
    assert command[command.index('--amp') + 1] == 'bf16'
    script.unlink()
    assert train(training, script) == {'mIoU': 10.0, 'step': 2}


def test_train_goes_on_after_an_end_without_a_record(training, script):
    train(training, script)
    record = training.work_dir / RECORD
    text = json.loads(record.read_text())
    record.write_text(json.dumps({**text, 'metrics': None}))
    assert train(training, script)['mIoU'] == 11.0, 'the newest log counts'


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(options={'x': '3'}), r'\(x \[1,2\], not 3\)'),
        (dict(options={}), r'\(x \[1,2\], not None\)'),
        (dict(data_root=Path('elsewhere')), 'data root .*elsewhere'),
        (dict(amp='bf16'), 'amp False, not bf16'),
    ],
)
def test_train_refuses_another_runs_folder(training, script, change, text):
    train(training, script)
    with pytest.raises(UsageError, match=f'{text}.*give another --out-dir'):
        train(training._replace(**change), script)


def test_train_refuses_a_changed_config(training, script, tmp_path):
    train(training, script)
    other = tmp_path / 'other' / training.config.name
    other.parent.mkdir()
    other.write_text(training.config.read_text())
    moved = training._replace(config=other)
    assert train(moved, script) == train(training, script)
    other.write_text('lr = 2\n')
    with pytest.raises(UsageError, match="config's content"):
        train(moved, script)


def test_a_run_that_trained_nothing_may_be_another(training, script):
    train(training, script)
    record = training.work_dir / RECORD
    text = json.loads(record.read_text())
    record.write_text(json.dumps({**text, 'metrics': None}))
    other = training._replace(data_root=Path('elsewhere'))
    (training.work_dir / 'iter_1.pth').touch()
    with pytest.raises(UsageError, match='holds another run'):
        train(other, script)
    (training.work_dir / 'iter_1.pth').unlink()
    assert train(other, script)['mIoU'] == 11.0


def test_train_reports_a_failure(training, script, tmp_path):
    training = training._replace(work_dir=tmp_path / 'fail')
    with pytest.raises(UsageError, match='status 1: error: no such data'):
        train(training, script)
    assert json.loads((tmp_path / 'fail' / RECORD).read_text())[
        'metrics'
    ] is None  # fmt: skip


def test_evaluate_is_done_once(training, script):
    train(training, script)
    with pytest.raises(UsageError, match='one best_'):
        evaluate(training, script)
    (training.work_dir / 'best_mIoU_iter_2.pth').touch()
    assert best_checkpoint(training.work_dir).stem == 'best_mIoU_iter_2'
    assert evaluate(training, script) == {'mIoU': 20.0}
    assert evaluate(training, script, '--aug-test') == {'mIoU': 21.0}
    args = json.loads(
        (training.work_dir / 'test_--aug-test/args.json').read_text()
    )
    assert args[1].endswith('best_mIoU_iter_2.pth')
    script.unlink()
    assert evaluate(training, script) == {'mIoU': 20.0}


RESULTS = sorted((ROOT / 'docs/benchmarks').glob('guideline_*.json'))


def test_page_is_current():
    page = (ROOT / 'docs/guidelines.md').read_text()
    assert RESULTS
    for path in RESULTS:
        result = json.loads(path.read_text())
        assert markdown(result) in page, path.name
        n = result['guideline']
        assert (ROOT / f'docs/guidelines/guideline_{n}.png').is_file()
