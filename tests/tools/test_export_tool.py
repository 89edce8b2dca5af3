"""tools/export.py as a user runs it."""

import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/export.py'


def error_of(done):
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    return next(x for x in done.stderr.splitlines() if 'error: ' in x)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, options, text',
    [
        ('m.onnx', [], 'opset 18, standard operators only'),
        ('m.pt2', ['--operator', 'node'], '4 nodes of the operator'),
        ('m.onnx', ['--part', 'backbone', '--static'], 'fixed size'),
    ],
)
def test_export(run_tool, small_segmentor, tmp_path, name, options, text):
    out = tmp_path / name
    # of an export that was killed
    host = socket.gethostname().partition('.')[0]
    (tmp_path / f'.partial-999999999-{host}.{name}').touch()
    done = run_tool(
        TOOL, *small_segmentor, out, '--shape', 64, 96, *options,
        timeout=600, fresh=name == 'm.pt2',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert text in done.stdout
    assert done.stdout.count('differs from PyTorch by at most') == 3
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    'out, options, text',
    [
        ('m.txt', [], 'must end in .onnx or .pt2'),
        ('m.onnx', ['--operator', 'node'], 'is for .pt2'),
        ('m.pt2', ['--opset', '20'], 'is for .onnx'),
        ('m.onnx', ['--shape', '8', '8'], 'sizes from 64'),
    ],
)
def test_wrong_input(run_tool, small_segmentor, tmp_path, out, options, text):
    done = run_tool(TOOL, *small_segmentor, tmp_path / out, *options)
    assert text in error_of(done)
