"""The script on trainings that are made up."""

import json
from pathlib import Path

import pytest

from mmrep.errors import UsageError
from projects.guidelines import guidelines
from projects.guidelines.experiments import TABLES
from projects.runs import Training

ROOT = Path(__file__).parents[2]
CONFIGS = Path(__file__).parent / 'configs'


@pytest.fixture
def call(monkeypatch, tmp_path):
    def run(*args):
        words = ['guidelines.py', *map(str, args), '--out-dir', str(tmp_path)]
        monkeypatch.setattr('sys.argv', words)
        guidelines.main()

    return run


def test_a_table(call, monkeypatch, tmp_path, capsys):
    """What it trains, in which order, and what it writes."""
    seen = []

    def train(training, script):
        assert script == ROOT / 'tools/train.py'
        seen.append(training)
        return {'mIoU': 30.0 + len(seen)}

    monkeypatch.setattr(guidelines, 'train', train)
    args = (5, '--data-root', 'data', '--seeds', 2)
    call(*args, '--cfg-options', 'train_cfg.max_iters=2')
    assert [str(t.work_dir.relative_to(tmp_path)) for t in seen] == [
        f'fcn_mobilenetv2_camvid-128x128/{key}/seed{seed}'
        for seed in (0, 1)
        for key in ('k3', 'last7_small3', 'last13_small3')
    ]
    assert seen[-1].options == {
        'model.backbone.kernel_sizes': '[3,3,3,3,3,3,13]',
        'model.backbone.small_kernel': '3',
        'model.backbone.shortcut': 'True',
        'train_cfg.max_iters': '2',
        'randomness.seed': '1',
    }
    assert seen[-1].data_root == Path('data')
    result = json.loads((tmp_path / 'guideline_5.json').read_text())
    assert [row['mIoU'] for row in result['rows']] == [
        [31, 34], [32, 35], [33, 36],
    ]  # fmt: skip
    assert result['rows'][0]['paper'] == [71.76, 72.31]
    assert result['cfg_options'] == {'train_cfg.max_iters': 2}
    text = (tmp_path / 'guideline_5.md').read_text()
    assert '| 3x3 | 32.50 ± 2.12 (2) | 71.76 | 72.31 |' in text
    assert text in capsys.readouterr().out
    assert (tmp_path / 'guideline_5.png').is_file()
    call(*args, '--full', '--rows', 'k3')
    assert [t.config.stem for t in seen[6:]] == ['fcn_mobilenetv2_camvid'] * 2


def test_report_of_what_is_finished(call, tmp_path):
    args = (2, '--data-root', 'x', '--seeds', 2, '--report-only')
    with pytest.raises(UsageError, match='must hold a finished run'):
        call(*args)
    folder = tmp_path / 'fcn_mobilenetv2_camvid-128x128/k3'
    row = next(r for r in TABLES[2].rows if r.key == 'k3')
    for seed, metrics in enumerate([{'mIoU': 7.0}, None]):
        run = folder / f'seed{seed}'
        run.mkdir(parents=True)
        training = Training(
            CONFIGS / 'fcn_mobilenetv2_camvid-128x128.py',
            run,
            {**row.options, 'randomness.seed': str(seed)},
            Path('x'),
        )
        record = {'run': training.identity(), 'metrics': metrics}
        (run / 'run.json').write_text(json.dumps(record))
    call(*args)
    result = json.loads((tmp_path / 'guideline_2.json').read_text())
    assert [(r['name'], r['mIoU']) for r in result['rows']] == [('3x3', [7.0])]


@pytest.mark.parametrize(
    'args, text',
    [
        ([1, '--report-only'], 'omit --report-only'),
        ([2], 'needs --data-root'),
        ([2, '--data-root', 'x', '--seeds', 0], 'at least 1, got 0'),
        ([3, '--data-root', 'x', '--rows', 'k5'], r"\['k3', .*got \['k5'\]"),
        ([2, '--data-root', 'x', '--cfg-options', 'randomness.seed=7',
          'model.backbone.shortcut=True'],
         'leave model.backbone.shortcut, randomness.seed to'),
    ],
)  # fmt: skip
def test_wrong_arguments(call, args, text):
    with pytest.raises(UsageError, match=text):
        call(*args)


def test_latency_of_small_stacks(call, tmp_path, monkeypatch):
    seen = []

    def stack_latency(size, kernel, batch, channels, clock):
        seen.append((size, kernel, batch, channels))
        return {'nn.Conv2d': 2, 'nn.Conv2d, channels_last': 3, 'mmrep': 1}

    monkeypatch.setattr(guidelines, 'stack_latency', stack_latency)
    call(1)
    result = json.loads((tmp_path / 'guideline_1.json').read_text())
    assert result['batch'] == 1 and (64, 31, 1, 64) in seen
    text = (tmp_path / 'guideline_1.md').read_text()
    assert 'mmrep faster by | 2.0 | 2.0' in text
    call(1, '--full')
    assert (64, 29, 64, 384) in seen
