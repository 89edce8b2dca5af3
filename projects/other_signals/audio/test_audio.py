"""Sound events: generated, trained on and tested with the usual tools."""

import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

HERE = Path(__file__).parent
TOOLS = HERE.parents[2] / 'tools'
SCRIPT = HERE / 'make_audio.py'
CONFIG = HERE / 'configs/upernet_unireplknet-tiny_audio.py'


@pytest.fixture(scope='module')
def audio_root(run_tool, tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'audio'
    done = run_tool(SCRIPT, out, '--train', 12, '--val', 3)
    assert done.returncode == 0, done.stderr
    return out


def test_layout_and_labels(audio_root):
    seen = set()
    for split, count in (('training', 12), ('validation', 3)):
        images = sorted((audio_root / 'images' / split).iterdir())
        assert len(images) == count
        for path in images:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            label = cv2.imread(
                str(audio_root / 'annotations' / split / path.name),
                cv2.IMREAD_UNCHANGED,
            )
            assert image.shape == label.shape == (128, 256)
            assert image.dtype == label.dtype == np.uint8
            seen |= set(np.unique(label))
            # what sounds is louder than the background
            assert image[label > 0].mean() > image[label == 0].mean() + 20
    assert seen == set(range(6))


def test_clips_are_what_the_images_show(audio_root):
    """Low frequencies at the bottom, time from left to right."""
    image_path = sorted((audio_root / 'images/training').iterdir())[0]
    clip_path = audio_root / f'clips/training/{image_path.stem}.wav'
    with wave.open(str(clip_path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), '<i2')
    samples = samples / 32768
    image = cv2.imread(str(image_path), cv2.IMREAD_UNCHANGED)
    loud = np.stack(
        [
            np.abs(
                np.fft.rfft(samples[64 * i : 64 * i + 256] * np.hanning(256))
            )
            for i in range(256)
        ],
        1,
    )[:128][::-1]
    level = 20 * np.log10(loud + 1e-3)
    correlation = np.corrcoef(level.ravel(), image.ravel())[0, 1]
    assert correlation > 0.9


def test_existing_folder_is_kept(run_tool, audio_root):
    done = run_tool(SCRIPT, audio_root)
    assert done.returncode == 1 and 'must not exist yet' in done.stderr


def test_wrong_seed(run_tool, tmp_path):
    done = run_tool(SCRIPT, tmp_path / 'out', '--seed', -1)
    assert done.returncode == 2 and 'must be 0 or more' in done.stderr


def test_train_and_test(run_tool, audio_root, tmp_path):
    options = [
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'train_dataloader.batch_size=2',
    ]
    done = run_tool(
        TOOLS / 'train.py', CONFIG, '--data-root', audio_root,
        '--work-dir', tmp_path, '--cfg-options', *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pictures = tmp_path / 'pictures'
    done = run_tool(
        TOOLS / 'test.py', CONFIG, tmp_path / 'iter_2.pth',
        '--data-root', audio_root, '--work-dir', tmp_path,
        '--show-dir', pictures,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'mIoU' in done.stdout + done.stderr
    assert len(list(pictures.rglob('*.png'))) == 3
