"""tools/export.py as a user runs it."""

import os
import re
from pathlib import Path

import pytest

from mmrep.files import partial_path

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/export.py'


def error_of(done):
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    return next(x for x in done.stderr.splitlines() if 'error: ' in x)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, options, text, count',
    [
        # noise of three sizes, and a picture of the test set
        ('m.onnx', [], 'opset 18, standard operators only', 4),
        ('m.pt2', ['--operator', 'node'], '4 nodes of the operator', 4),
        ('m.onnx', ['--part', 'backbone', '--static'], 'fixed size', 3),
        ('m.onnx', ['--static'], 'no picture was compared, because the f', 3),
        (
            'm.onnx',
            ['--cfg-options', 'test_dataloader.dataset.data_root=nowhere'],
            'no picture was compared, because that of the test set is not',
            3,
        ),
    ],
)
def test_export(
    run_tool, small_segmentor, tmp_path, name, options, text, count
):
    out = tmp_path / name
    # of an export that was killed
    left = partial_path(out).name.replace(str(os.getpid()), '999999999', 1)
    (tmp_path / left).touch()
    done = run_tool(
        TOOL, *small_segmentor, out, '--shape', 64, 96, *options,
        timeout=600, fresh=name == 'm.pt2',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert text in done.stdout
    assert done.stdout.count('differs from PyTorch by at most') == count
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_metric_of_the_file(run_tool, small_segmentor, shapes_root, tmp_path):
    """tools/test.py prints of an exported file what it does of the model."""
    config, checkpoint = small_segmentor
    out = tmp_path / 'm.onnx'
    done = run_tool(TOOL, config, checkpoint, out, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for model in (checkpoint, out):
        for more in ([], ['--aug-test']):
            done = run_tool(
                ROOT / 'tools/test.py', config, model, '--data-root',
                shapes_root, '--work-dir', tmp_path / 'work', *more,
                '--show-dir', tmp_path / f'show{model.suffix}', timeout=600,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3000:]
            text = done.stdout + done.stderr
            (value,) = re.findall(r'mIoU: ([\d.]+)', text)
            found[Path(model).suffix, bool(more)] = float(value)
    names = [
        sorted(p.name for p in (tmp_path / f'show{suffix}').iterdir())
        for suffix in ('.pth', '.onnx')
    ]
    assert len(names[0]) == 6 and names[0] == names[1]
    for more in (False, True):
        assert found['.onnx', more] > 0
        assert found['.onnx', more] == pytest.approx(
            found['.pth', more], abs=0.1
        )


def test_runtime_is_for_exported_files(run_tool, small_segmentor):
    tool = ROOT / 'tools/test.py'
    done = run_tool(tool, *small_segmentor, '--runtime', 'openvino')
    assert '--runtime applies only to exported files' in error_of(done)


@pytest.mark.parametrize(
    'out, options, text',
    [
        ('m.txt', [], 'must end in .onnx or .pt2'),
        ('m.onnx', ['--operator', 'node'], 'needs a .pt2'),
        ('m.pt2', ['--opset', '20'], 'needs an .onnx'),
        ('m.onnx', ['--shape', '8', '8'], 'at least 64'),
        ('m.onnx', ['--tolerance', 'inf'], 'between 0 and 1, got inf'),
        ('m.onnx', ['--masks', 'raw'], '--masks raw needs a model with masks'),
        ('m.onnx', ['--part', 'neck', '--masks', 'raw'], '--masks applies'),
        ('m.onnx', ['--part', 'neck', '--input', 'float'], '--input applies'),
        ('m.onnx', ['--part', 'neck', '--image', 'a.png'], '--image applies'),
    ],
)
def test_wrong_input(run_tool, small_segmentor, tmp_path, out, options, text):
    done = run_tool(TOOL, *small_segmentor, tmp_path / out, *options)
    assert text in error_of(done)


def test_an_exported_file_is_no_checkpoint(run_tool, small_segmentor):
    done = run_tool(TOOL, small_segmentor[0], 'm.onnx', 'm.onnx')
    assert 'must be a checkpoint, got the exported file' in error_of(done)


def test_amp_is_for_checkpoints(run_tool, small_segmentor):
    tool = ROOT / 'tools/test.py'
    done = run_tool(tool, small_segmentor[0], 'm.onnx', '--amp', 'bf16')
    assert '--amp applies only to checkpoints' in error_of(done)
