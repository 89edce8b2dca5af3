"""Videos with predictions drawn in; one frame is in memory at a time."""

import math
import time
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    NamedTuple,
    Optional,
)

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from mmrep.apis import Inferencer, list_images
from mmrep.apis.drawing import (
    MIN_LINE,
    class_colours,
    class_names,
    overlay,
    with_legend,
)
from mmrep.apis.pictures import check_targets, read_image
from mmrep.errors import UsageError
from mmrep.files import replaced

_SUFFIXES = (
    '.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv'
)  # fmt: skip
# Frames per second of cameras and folders that have no rate.
_RATE = 25.0


class Clip(NamedTuple):
    """Frames that make a video.

    Attributes:
        source: A file, a folder, or the number of a camera.
        rate: Frames per second.
        total: How many frames there should be; None for a camera.
        frames: BGR arrays of shape (H, W, 3), read one by one.
    """

    source: str
    rate: float
    total: Optional[int]
    frames: Iterator[np.ndarray]

    @property
    def is_camera(self) -> bool:
        """Whether it lasts until it is interrupted."""
        return self.total is None

    @property
    def name(self) -> str:
        """Name of the file to write."""
        if self.is_camera:
            return f'camera{self.source}.mp4'
        path = Path(self.source).resolve()
        return f'{path.name if path.is_dir() else path.stem}.mp4'


def is_video(source: str) -> bool:
    """Whether a file is a video by its suffix, or a number names a camera."""
    path = Path(source)
    film = path.suffix.lower() in _SUFFIXES and not path.is_dir()
    return film or _is_camera(source)


def _is_camera(source: str) -> bool:
    return source.isdigit() and not Path(source).exists()


def open_clip(source: str, rate: Optional[float] = None) -> Clip:
    """Open a video, a folder of frames, or a camera.

    Args:
        source (str): A file that OpenCV can read, a folder whose files are
            frames in the order of their names, or the number of a camera.
        rate (float, optional): Frames per second of a folder or camera.
            Defaults to None, which means 25 or the camera's rate.

    Returns:
        Clip: Its frames.

    Raises:
        UsageError: If it cannot be opened, or a file has its own rate.
    """
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f'--fps must be a number above 0, got {rate}.')
    path = Path(source)
    if path.is_dir():
        files = list_images(source)
        frames = _of_one_size(map(read_image, files), source)
        return Clip(source, rate or _RATE, len(files), frames)
    camera = _is_camera(source)
    if not camera and not path.is_file():
        raise UsageError(
            f'the video must be an existing file or folder, got {source!r}.'
        )
    level = cv2.setLogLevel(0)  # the error below says the same in one line
    capture = cv2.VideoCapture(int(source) if camera else source)
    cv2.setLogLevel(level)
    if not capture.isOpened():
        raise UsageError(
            f'camera {source} cannot be opened.'
            if camera
            else f'{source} is not a video that OpenCV can read.'
        )
    own = capture.get(cv2.CAP_PROP_FPS)
    frames = _of_one_size(_read(capture), source)
    if camera:
        return Clip(source, rate or own or _RATE, None, frames)
    if rate is not None:
        raise UsageError(
            f'--fps applies only to folders and cameras; {source} has its own '
            'frame rate.'
        )
    total = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return Clip(source, own or _RATE, total, frames)


def _read(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield frame
    finally:
        capture.release()


def _of_one_size(
    frames: Iterable[np.ndarray], source: str
) -> Iterator[np.ndarray]:
    size = None
    for i, frame in enumerate(frames):
        size = size or frame.shape
        if frame.shape != size:
            raise UsageError(
                f'the frames of {source} must have the same size, but the '
                f'first is {size[1]}x{size[0]}, number {i + 1} '
                f'{frame.shape[1]}x{frame.shape[0]}.'
            )
        yield frame


def write_video(
    inferencer: Inferencer,
    clip: Clip,
    out_dir: str,
    opacity: float = 0.5,
    score_thr: float = 0.3,
    track: Callable[[Iterable], Iterable] = iter,
) -> int:
    """Draw predictions into each frame of a clip.

    The video has the rate and the number of frames of the clip, in MPEG-4. A
    camera's video ends with an interrupt and repeats frames while the model
    computes, so it lasts as long as the recording.

    Args:
        inferencer (Inferencer): For a segmentor or detector.
        clip (Clip): What :func:`open_clip` returned.
        out_dir (str): Folder for ``NAME.mp4``, which is complete or absent.
        opacity (float): See :meth:`Inferencer.draw`. Defaults to 0.5.
        score_thr (float): See :meth:`Inferencer.draw`. Defaults to 0.3.
        track (Callable): Passes the frames on, as a progress bar does.
            Defaults to ``iter``.

    Returns:
        int: Number of frames of the video.

    Raises:
        UsageError: If there are no frames, the video would replace a file next
            to the clip, or it cannot be written.
    """
    path = Path(out_dir, clip.name)
    if not clip.is_camera:
        source = Path(clip.source)
        inside = source / 'frame' if source.is_dir() else source
        check_targets([path], [inside], '--out-dir')
    writer, written, start = None, 0, time.monotonic()
    with replaced(path) as partial:
        try:
            for frame in track(clip.frames):
                picture = _draw(inferencer, frame, opacity, score_thr)
                if writer is None:
                    writer = _writer(partial, clip.rate, picture)
                due = written + 1
                if clip.is_camera:
                    passed = (time.monotonic() - start) * clip.rate
                    due = max(due, round(passed))
                for _ in range(due - written):
                    writer.write(picture)
                written = due
        except KeyboardInterrupt:
            if not clip.is_camera:
                raise
        finally:
            if writer is not None:
                writer.release()
        if not written:
            raise UsageError(f'{clip.source} has no frames that can be read.')
        _check(partial, path, written)
    return written


def _draw(
    inferencer: Inferencer,
    frame: np.ndarray,
    opacity: float,
    score_thr: float,
) -> np.ndarray:
    sample = inferencer.predict(frame)
    if inferencer.segments:
        picture = _draw_labels(frame, sample, inferencer.meta, opacity)
    else:
        picture = inferencer.draw(frame, sample, score_thr=score_thr)
    # codecs need even numbers of lines and columns
    odd_height, odd_width = (size % 2 for size in picture.shape[:2])
    return cv2.copyMakeBorder(
        picture, 0, odd_height, 0, odd_width, cv2.BORDER_REPLICATE
    )


def _draw_labels(
    frame: np.ndarray,
    sample: BaseDataElement,
    meta: Dict[str, Any],
    opacity: float,
) -> np.ndarray:
    """A label map with a legend of the same width for every frame.

    It has all classes, or the most frequent of the frame if there is no room.
    """
    labels = sample.pred_sem_seg.data[0].cpu().numpy()
    count = max(int(labels.max()) + 1, len(meta.get('classes') or ()))
    colours, names = class_colours(meta, count), class_names(meta, count)
    picture = overlay(frame, labels, colours, opacity)
    shown, room = np.arange(count), frame.shape[0] // MIN_LINE
    if count > room:
        areas = np.bincount(labels.ravel(), minlength=count)
        shown = np.sort(np.argsort(-areas)[:room])
        shown = shown[areas[shown] > 0]
    entries = [(names[i], colours[i]) for i in shown]
    return with_legend(picture, entries, names)


def _writer(path: Path, rate: float, picture: np.ndarray) -> cv2.VideoWriter:
    size = picture.shape[1], picture.shape[0]
    code = cv2.VideoWriter_fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), code, rate, size)
    if not writer.isOpened():
        raise UsageError(
            f'OpenCV cannot write MPEG-4 (mp4v) video of {size[0]}x{size[1]} '
            f'pixels at {rate:g} frames per second; is the disk full?'
        )
    return writer


def _check(partial: Path, path: Path, written: int) -> None:
    """Check the video, because OpenCV does not report a full disk."""
    capture = cv2.VideoCapture(str(partial))
    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if found != written:
        raise UsageError(
            f'{path} cannot be written: it holds only {found} of {written} '
            'frames; is the disk full?'
        )
