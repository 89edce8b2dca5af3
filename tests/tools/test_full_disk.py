"""The tools on a full disk: one line, and no file that is not whole."""

from pathlib import Path

import cv2
import pytest

TOOLS = Path(__file__).parents[2] / 'tools'

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    'tool, args, written',
    [
        ('test.py', '--work-dir {tmp} --out {full}', '*.png'),
        ('test.py', '--work-dir {tmp} --show-dir {full}', 'vis_data/*/*'),
        ('test.py', '--work-dir {full}', '*.py'),
        ('image_demo.py', '--out-dir {full}', '*.png'),
        ('reparameterize.py', '{full}/a.pth', '*'),
        ('convert_checkpoint.py', '{full}/a.pth', '*'),
        ('export.py', '{full}/a.pt2 --shape 64 64 --static', '*'),
        ('export.py', '{full}/a.onnx --shape 64 64 --static', '*'),
    ],
)
def test_full_disk(
    run_tool, small_segmentor, shapes_root, tmp_path, full, tool, args, written
):
    config, checkpoint = small_segmentor
    args = args.format(tmp=tmp_path, full=full).split()
    if tool == 'image_demo.py':
        args = [shapes_root / 'images/validation', config, checkpoint, *args]
    elif tool == 'convert_checkpoint.py':
        args = [checkpoint, *args, '--config', config]
    else:
        args = [config, checkpoint, *args]
    done = run_tool(TOOLS / tool, *args)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
    assert 'No space left on device' in line
    for path in full.rglob(written):
        if path.is_file() and path.name != '.filling':
            assert path.suffix == '.png' and cv2.imread(str(path)) is not None
    assert not list(full.rglob('.partial*'))
