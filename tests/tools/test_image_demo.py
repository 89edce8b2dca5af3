"""tools/image_demo.py as a user runs it."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import torch

from mmrep.deploy import build_model
from mmrep.engine import load_config

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/image_demo.py'


def test_folder(run_tool, small_segmentor, shapes_root, tmp_path):
    pictures = shapes_root / 'images/validation'
    out = tmp_path / 'out'
    done = run_tool(
        TOOL, pictures, *small_segmentor, '--out-dir', out, fresh=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'{out} has 6 pictures' in done.stdout
    assert '100%' in done.stderr  # the progress bar
    names = sorted(p.stem for p in pictures.iterdir())
    assert sorted(p.name for p in out.iterdir()) == [f'{n}.png' for n in names]
    one = out / f'{names[0]}.png'
    image = cv2.imread(str(pictures / f'{names[0]}.jpg'))
    drawn = cv2.imread(str(one))
    assert drawn.shape[1] > 64  # the legend
    for opacity in (0, 1):
        done = run_tool(
            TOOL, pictures / f'{names[0]}.jpg', *small_segmentor,
            '--out-dir', tmp_path / str(opacity), '--opacity', opacity,
            '--deploy',
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    done = run_tool(
        TOOL, pictures / f'{names[0]}.jpg', *small_segmentor, '--out-dir',
        tmp_path / 'half', '--amp', 'bf16',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'half' / one.name).is_file()
    clear = cv2.imread(str(tmp_path / '0' / one.name))
    np.testing.assert_array_equal(clear[:64, :64], image)
    opaque = cv2.imread(str(tmp_path / '1' / one.name))
    assert len(np.unique(opaque[:64, :64].reshape(-1, 3), axis=0)) <= 7


def test_files_that_are_no_images(
    run_tool, small_segmentor, shapes_root, tmp_path
):
    folder = tmp_path / 'in'
    folder.mkdir()
    (folder / 'a.txt').write_text('text')
    (folder / 'b.jpg').write_bytes(b'')
    picture = next((shapes_root / 'images/validation').iterdir())
    shutil.copy(picture, folder / 'c.jpg')
    truth = shapes_root / 'annotations/validation' / f'{picture.stem}.png'
    shutil.copy(truth, tmp_path / 'c.png')
    out = tmp_path / 'out'
    done = run_tool(
        TOOL, folder, *small_segmentor, '--out-dir', out,
        '--truth-dir', tmp_path, '--slide', 32,
    )  # fmt: skip
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'skipped: {folder}/a.txt is not an image' in done.stderr
    assert f'skipped: {folder}/b.jpg is not an image' in done.stderr
    assert 'error: 2 of 3 files skipped' in done.stderr
    assert ' has 1 picture\n' in done.stdout
    assert [p.name for p in out.iterdir()] == ['c.png']
    assert cv2.imread(str(out / 'c.png')).shape[1] > 3 * 64


def test_wrong_input(run_tool, small_segmentor, tmp_path):
    done = run_tool(
        TOOL, tmp_path / 'no.jpg', *small_segmentor, '--out-dir', tmp_path
    )
    assert done.returncode != 0 and 'Traceback' not in done.stderr
    assert 'existing file or folder' in done.stderr


def test_scores_below_the_threshold_are_said(run_tool, shapes_root, tmp_path):
    options = {
        'model.backbone.arch.depths': [1, 1, 1, 1],
        'model.backbone.arch.kernel_sizes': [5, 5, 5, 5],
    }
    cfg = load_config('fcos_replknet-tiny_shapes', options)
    torch.save(build_model(cfg).state_dict(), tmp_path / 'new.pth')
    picture = min((shapes_root / 'images/validation').iterdir())
    command = [
        TOOL, picture, 'fcos_replknet-tiny_shapes', tmp_path / 'new.pth',
        '--out-dir', tmp_path / 'out', '--cfg-options',
        *(f'{key}={value}'.replace(' ', '') for key, value in options.items()),
    ]  # fmt: skip
    done = run_tool(*command, '--score-thr', '1')
    assert done.returncode == 0, done.stderr
    assert 'no box is drawn: the best score is 0.' in done.stdout
    done = run_tool(*command, '--score-thr', '0')
    assert done.returncode == 0 and 'no box' not in done.stdout, done.stderr
