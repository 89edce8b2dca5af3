"""tools/benchmarks/benchmark_model.py as a user runs it."""

import json
import runpy
from pathlib import Path

import cv2
import pytest

from mmrep.analysis.throughput import missing_package
from mmrep.models.precision import check_precision

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/benchmark_model.py'


@pytest.mark.slow
def test_table_and_json(run_tool, small_segmentor, tmp_path):
    out = tmp_path / 'folder/out.json'
    done = run_tool(
        TOOL, small_segmentor[0], '--shape', 64, 96, '--batch-sizes', 1,
        '--switches', 'with_cp', '--form', 'deploy', '--repeats', 2,
        '--threads', 1, '--clock', 'cpu', '--mode', 'inference', 'training',
        '--out', out, '--baselines', 'convnext-b', '--picture',
        tmp_path / 'bars.png', fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    models = ['small']
    if missing_package('convnext-b'):
        assert 'convnext-b is skipped: it needs mmpretrain' in done.stderr
    else:
        models.append('convnext-b')
    assert 'deploy form, with_cp, 1x64x96 is skipped' in done.stderr
    lines = [line.split(' | ') for line in done.stdout.splitlines()[2:]]
    assert [line[:4] for line in lines] == [
        [f'| {model}', 'training step', 'with_cp', '1×64×96']
        for model in models
    ]
    assert cv2.imread(str(tmp_path / 'bars.png')).shape[1] == 960
    found = json.loads(out.read_text())
    assert found['rows'][0]['clock'] == 'cpu'
    assert found['threads'] == 1 and found['torch'] and found['name']
    assert [len(row['times']) for row in found['rows']] == [2] * len(models)


@pytest.mark.parametrize(
    'wrong, text',
    [
        (['--switches', 'bf61'], "got 'bf61'"),
        (
            ['--mode', 'inference', '--switches', 'with_cp'],
            'nothing to measure: with_cp and compile are for training',
        ),
        (['--shape', '64', '8'], '--shape must be at least 32'),
        (['--batch-sizes', '0'], '--batch-sizes must be positive'),
        (['--picture', 'a.bars'], '--picture must be a .png file'),
        (['none.py'], 'none.py is not a file'),
    ],
)
def test_wrong_input(small_segmentor, monkeypatch, capsys, wrong, text):
    argv = [str(TOOL), str(small_segmentor[0]), *wrong]
    if wrong == ['none.py']:
        argv.remove(str(small_segmentor[0]))
    monkeypatch.setattr('sys.argv', argv)
    with pytest.raises(SystemExit, match='1'):
        runpy.run_path(str(TOOL), run_name='__main__')
    said = capsys.readouterr().err
    assert said.startswith('error: ') and text in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_configs_follow_each_other(run_tool, small_segmentor, tmp_path):
    """One with an error costs only its own rows; what lacks is said."""
    config, out = small_segmentor[0], tmp_path / 'out.json'
    other = tmp_path / 'other.py'
    other.write_text(
        f"_base_ = '{config}'\nmodel = dict(neck=dict(type='No'))\n"
    )
    done = run_tool(
        TOOL, config, other, '--shape', 64, 64, '--batch-sizes', 1, '--form',
        'deploy', '--switches', 'plain', 'bf16', '--repeats', 1, '--mode',
        'inference', '--out', out,
    )  # fmt: skip
    assert done.returncode == 1
    assert '2 of 4 cases could not be measured' in done.stderr
    rows = json.loads(out.read_text())['rows']
    assert [row['model'] for row in rows] == ['small'] * 2 + ['other'] * 2
    assert ['error' in row for row in rows] == [False] * 2 + [True] * 2
    assert 0.4 < rows[1]['file_mb'] / rows[0]['file_mb'] < 0.6
    slow = check_precision('bf16', 'cpu')
    assert ('no instructions for bf16' in done.stderr) == (slow is not None)


@pytest.mark.parametrize(
    'options, text',
    [
        (['--checkpoints', 'a', 'b'], 'one for each of 1 configs, got 2'),
        (['--data-root', 'a'], '--data-root needs --checkpoints'),
        (
            ['--form', 'int8', '--switches', 'bf16'],
            'nothing to measure: the form int8 is',
        ),
    ],
)
def test_checkpoints(run_tool, small_segmentor, options, text):
    done = run_tool(TOOL, small_segmentor[0], '--mode', 'inference', *options)
    assert done.returncode == 1 and text in done.stderr
