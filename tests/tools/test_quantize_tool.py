"""tools/quantize.py as a user runs it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from sweep import sweep

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/quantize.py'


def error_of(done):
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    return next(x for x in done.stderr.splitlines() if 'error: ' in x)


@pytest.mark.slow
def test_quantize(run_tool, small_segmentor, shapes_root, tmp_path, full):
    config, checkpoint = small_segmentor
    out, report = tmp_path / 'int8.onnx', tmp_path / 'report.json'
    words = '--data-root', shapes_root, '--max-drop', 100, '--calibrate', 4
    done = run_tool(
        TOOL, config, checkpoint, out, *words, '--report', report, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Calibrating' in done.stderr and '100%' in done.stderr
    found = json.loads(report.read_text())
    assert found['layers'] > 30 and found['calibrated_on'] == 4
    assert {kernel['kernel'] for kernel in found['kernels']} >= {13, 9, 7, 5}
    # it is a model like any other, with the score that was said
    done = run_tool(
        ROOT / 'tools/test.py', config, out, '--data-root', shapes_root,
        '--work-dir', tmp_path / 'work',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (value,) = re.findall(r'mIoU: ([\d.]+)', done.stdout + done.stderr)
    assert float(value) == pytest.approx(found['score']['mIoU'], abs=0.02)
    done = run_tool(TOOL, config, out, tmp_path / 'again.onnx', *words)
    assert 'is already quantized' in error_of(done)
    done = run_tool(TOOL, config, checkpoint, full / 'm.onnx', *words)
    assert 'No space left on device' in error_of(done)
    assert [p.name for p in full.iterdir()] == ['.filling']


@pytest.mark.parametrize(
    'model, out, options, text',
    sweep(
        [
            ('m.pth', 'm.xml', [], 'OUT must end in .onnx'),
            ('m.onnx', 'm.onnx', [], 'must not overwrite'),
            ('m.pt2', 'm.onnx', [], 'a checkpoint or an .onnx'),
            ('m.pth', 'm.onnx', ['--calibrate', '0'], 'must be 1 or more'),
            ('m.pth', 'm.onnx', ['--max-drop', '-1'], 'must not be negative'),
            ('m.pth', 'm.onnx', ['--data-root', 'none'], 'needs the folder'),
            ('none.onnx', 'm.onnx', [], 'must be an existing file'),
        ],
        quick=2,
        unpack=True,
    ),
)
def test_wrong_input(
    run_tool, small_segmentor, shapes_root, tmp_path, model, out, options, text
):
    done = run_tool(
        TOOL, small_segmentor[0], tmp_path / model, tmp_path / out,
        '--data-root', shapes_root, *options,
    )  # fmt: skip
    assert text in error_of(done)
    assert list(tmp_path.iterdir()) == []


def test_no_calibration_images(
    run_tool, small_segmentor, shapes_root, tmp_path
):
    """It is said before the checkpoint is exported."""
    data = tmp_path / 'data'
    shutil.copytree(shapes_root, data)
    for path in (data / 'images/training').iterdir():
        path.unlink()
    done = run_tool(
        TOOL, *small_segmentor, tmp_path / 'm.onnx', '--data-root', data
    )
    assert 'must have images, but has none' in error_of(done)
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['data']
