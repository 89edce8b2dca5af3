"""Trainings that a script starts: once, to the end, and only their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrep.errors import UsageError
from projects.runs import (
    RECORD,
    Training,
    best_checkpoint,
    evaluate,
    train,
)

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


@pytest.mark.parametrize('number', (signal.SIGINT, signal.SIGTERM), ids=str)
def test_a_training_that_is_stopped_writes_its_checkpoint(number, tmp_path):
    """The script passes the signal on and waits."""
    child = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(1)
    pathlib.Path('checkpoint').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path('begun').touch()
time.sleep(99)
"""
    code = f"""
import sys, pathlib
from mmrep.engine.cli import run as run_main
from projects.runs import run
command = [sys.executable, '-c', {child!r}]
run_main(lambda: run(command, pathlib.Path('output.txt')))
"""
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])},
    )
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert (tmp_path / 'checkpoint').exists()


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
