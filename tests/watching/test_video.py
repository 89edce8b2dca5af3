"""Videos of predictions, by tools/image_demo.py."""

import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmrep.apis import Inferencer
from mmrep.errors import UsageError
from mmrep.watching import is_video, open_clip, video, write_video

TOOL = Path(__file__).parents[2] / 'tools/image_demo.py'


def read_all(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.fixture
def clip(shapes_root, tmp_path):
    """Six frames at 12.5 a second."""
    path = tmp_path / 'in/clip.avi'
    path.parent.mkdir()
    code = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 12.5, (64, 64))
    for file in sorted((shapes_root / 'images/validation').iterdir()):
        writer.write(cv2.imread(str(file)))
    writer.release()
    return path


@pytest.fixture
def inferencer(small_segmentor):
    return Inferencer(*small_segmentor, device='cpu')


def test_clip(run_tool, small_segmentor, clip, tmp_path):
    out = tmp_path / 'out'
    done = run_tool(TOOL, clip, *small_segmentor, '--out-dir', out)
    assert done.returncode == 0, done.stderr[-3000:]
    path = out / 'clip.mp4'
    assert done.stdout == f'{path} has 6 frames at 12.5 a second\n'
    assert '100%' in done.stderr
    frames, rate = read_all(path)
    assert (len(frames), rate) == (6, 12.5)
    # the legend is beside it
    height, width, _ = frames[0].shape
    assert height == 64 and width > 64
    done = run_tool(
        TOOL, clip, *small_segmentor, '--out-dir', out, '--fps', 25
    )
    assert 'clip.avi has its own frame rate' in done.stderr


def test_folder_of_frames(run_tool, small_segmentor, shapes_root, tmp_path):
    folder = shapes_root / 'images/validation'
    done = run_tool(
        TOOL, folder, *small_segmentor, '--out-dir', tmp_path, '--fps', 10
    )
    assert done.returncode == 0, done.stderr[-3000:]
    frames, rate = read_all(tmp_path / 'validation.mp4')
    assert (len(frames), rate) == (6, 10)


def test_frames_show_the_prediction(inferencer, clip, tmp_path):
    assert write_video(inferencer, open_clip(str(clip)), tmp_path) == 6
    frames, _ = read_all(tmp_path / 'clip.mp4')
    originals, _ = read_all(clip)
    for frame, original in zip(frames, originals, strict=True):
        sample = inferencer.predict(original)
        drawn = inferencer.draw(original, sample)[:64, :64]
        difference = np.abs(frame[:64, :64].astype(int) - drawn).mean()
        assert difference < 8
        plain = np.abs(frame[:64, :64].astype(int) - original).mean()
        assert difference < plain / 2


def test_interrupt_leaves_nothing(inferencer, clip, tmp_path):
    def interrupted(frames):
        yield next(frames)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(
            inferencer, open_clip(str(clip)), tmp_path, track=interrupted
        )
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_camera_ends_with_an_interrupt(inferencer, tmp_path, monkeypatch):
    frame = np.zeros((32, 32, 3), np.uint8)

    class Camera:
        def __init__(self, number):
            assert number == 7
            self.left = 5

        def isOpened(self):
            return True

        def get(self, _):
            return 20.0

        def read(self):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return True, frame

        def release(self):
            pass

    # a frame each quarter of a second
    now = iter(range(100))
    clock = SimpleNamespace(monotonic=lambda: next(now) / 4)
    monkeypatch.setattr(video, 'time', clock)
    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'VideoCapture', Camera)
        camera = open_clip('7')
    assert camera.total is None
    assert write_video(inferencer, camera, tmp_path) == 20
    frames, rate = read_all(tmp_path / 'camera7.mp4')
    assert (len(frames), rate) == (20, 20)


def test_wrong_input(inferencer, clip, tmp_path, capfd):
    assert is_video('0') and is_video('a/CLIP.MP4')
    assert not is_video('a.jpg') and not is_video(str(tmp_path))
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(b'no video')
    with pytest.raises(UsageError, match='not a video that OpenCV can read'):
        open_clip(str(broken))
    with pytest.raises(UsageError, match='existing file'):
        open_clip(str(tmp_path / 'absent.mp4'))
    with pytest.raises(UsageError, match='camera 99 cannot be opened'):
        open_clip('99')
    assert 'VIDEOIO' not in capfd.readouterr().err
    none = open_clip(str(clip))._replace(frames=iter(()))
    with pytest.raises(UsageError, match='no frames that can be read'):
        write_video(inferencer, none, tmp_path)
    for rate in (0, math.nan, math.inf):
        with pytest.raises(UsageError, match=f'above 0, got {rate}'):
            open_clip(str(tmp_path), rate)
    beside = clip.with_suffix('.mp4')
    beside.write_bytes(b'mine')
    with pytest.raises(UsageError, match='must not overwrite'):
        write_video(inferencer, open_clip(str(clip)), clip.parent)
    folder = tmp_path / 'frames'
    folder.mkdir()
    for i, size in enumerate((32, 40)):
        picture = np.zeros((size, size, 3), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), picture)
    with pytest.raises(UsageError, match='first is 32x32, number 2 40x40'):
        write_video(inferencer, open_clip(str(folder)), tmp_path)
    assert not [*tmp_path.glob('*frames*.mp4')]


def test_missing_codec(inferencer, clip, tmp_path, monkeypatch):
    writer = SimpleNamespace(isOpened=lambda: False)
    monkeypatch.setattr(cv2, 'VideoWriter', lambda *_: writer)
    message = 'cannot write MPEG-4 .* pixels at 12.5 frames per second'
    with pytest.raises(UsageError, match=message):
        write_video(inferencer, open_clip(str(clip)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_names_of_many_classes_have_room():
    """The legend is as wide whatever the frame shows."""
    names = [f'class with a name {i}' for i in range(150)]
    sizes = set()
    for label in (0, 149):
        labels = np.full((70, 70), label)
        labels[:5] = range(70)
        sample = SimpleNamespace(pred_sem_seg=SimpleNamespace())
        sample.pred_sem_seg.data = torch.from_numpy(labels)[None]
        frame = np.zeros((70, 70, 3), np.uint8)
        picture = video._draw_labels(frame, sample, dict(classes=names), 0.5)
        sizes.add(picture.shape)
    assert len(sizes) == 1 and sizes.pop()[0] == 70
