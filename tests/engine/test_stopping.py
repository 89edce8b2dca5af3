"""Ctrl-C and SIGTERM in the scripts of tools/."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrep.engine.cli import run

ROOT = Path(__file__).parents[2]
LINES = {
    signal.SIGINT: 'error: interrupted\n',
    signal.SIGTERM: 'error: ended by SIGTERM\n',
}
STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def handlers():
    """A stopped script goes on ignoring signals until its process ends."""
    # a job in the background ignores Ctrl-C, and so do its children
    own = {number: signal.default_int_handler for number in LINES}
    before = {n: signal.signal(n, handler) for n, handler in own.items()}
    yield own
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', LINES)
def test_others_do_not_interrupt_the_cleaning(number, capsys):
    cleaned = []

    def main():
        try:
            signal.raise_signal(number)
        finally:
            for another in LINES:
                signal.raise_signal(another)
            cleaned.append(1)

    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert cleaned and stopped.value.code == STATUSES[number]
    assert capsys.readouterr().err == LINES[number]


def test_handlers_are_restored(handlers):
    run(lambda: None)
    for number, handler in handlers.items():
        assert signal.getsignal(number) is handler


@pytest.mark.parametrize('number', LINES)
def test_before_the_imports(number):
    code = (
        'import argparse, signal; from mmrep_cli import arguments; '
        'arguments.parse_arguments(argparse.ArgumentParser()); '
        f'signal.raise_signal({int(number)})'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (STATUSES[number], LINES[number])


@pytest.mark.slow
def test_no_half_written_video(small_segmentor, shapes_root, tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    picture = next((shapes_root / 'images/validation').iterdir())
    for i in range(200):
        shutil.copy(picture, folder / f'{i}.png')
    process = subprocess.Popen(
        [
            sys.executable, ROOT / 'tools/image_demo.py', folder,
            *small_segmentor, '--out-dir', tmp_path / 'out', '--fps', '5',
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        while not [*tmp_path.glob('out/.partial*')]:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in STATUSES.values(), errors
    assert errors.splitlines(True)[-1] in LINES.values()
    assert [*(tmp_path / 'out').iterdir()] == []
