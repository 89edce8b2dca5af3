"""Read and write audio and video files with FFmpeg."""

import wave
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Sequence

import numpy as np

from mmrep.errors import UsageError


def import_av(kind: str) -> Any:
    """Import PyAV, which reads and writes media of a kind.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import av
    except ImportError as e:
        raise UsageError(
            f'{kind} files need the package {e.name}: pip install -r '
            'requirements/other_signals.txt'
        ) from e
    return av


@contextmanager
def opened(path: str, kind: str) -> Iterator[Any]:
    """Open a file and find its first stream of a kind, to decode it.

    Args:
        path (str): The file.
        kind (str): 'audio' or 'video'.

    Yields:
        The container, whose ``decode(**{kind: 0})`` gives the frames.

    Raises:
        UsageError: If PyAV is not installed, FFmpeg cannot read the file, here
            or while it is decoded, or it has no such stream.
    """
    av = import_av(kind)
    try:
        with av.open(path) as container:
            if not getattr(container.streams, kind):
                raise UsageError(f'{path} must hold {kind}, but holds none.')
            yield container
    except (av.FFmpegError, OSError) as e:
        raise UsageError(
            f'{path} cannot be read as {kind}: {e.strerror}.'
        ) from e


def read_audio(path: str, sample_rate: int) -> np.ndarray:
    """Samples of a file, one channel, resampled if its rate is another.

    Args:
        path (str): The file.
        sample_rate (int): Samples per second.

    Returns:
        ndarray: Shape (N, ), float32; integers become -1 to 1.

    Raises:
        UsageError: If it is not audio, or has values that are not finite.
    """
    parts: List[np.ndarray] = []
    with opened(path, 'audio') as container:
        resampler = import_av('audio').AudioResampler(
            'flt', 'mono', sample_rate
        )
        for frame in (*container.decode(audio=0), None):
            parts += [p.to_ndarray()[0] for p in resampler.resample(frame)]
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.isfinite(samples).all():
        raise UsageError(f'{path} must hold finite samples.')
    return samples


def write_audio(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write one channel as a WAV file of 16 bits.

    Args:
        path (Path): The file.
        samples (ndarray): Shape (N, ), -1 to 1.
        sample_rate (int): Samples per second.
    """
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        samples = (samples.clip(-1, 1) * 32767).astype('<i2')
        file.writeframes(samples.tobytes())


def count_frames(path: str) -> int:
    """Number of frames of a video.

    Raises:
        UsageError: If it is not a video, or has no frames.
    """
    with opened(path, 'video') as container:
        count = container.streams.video[0].frames
        if not count:  # some containers do not say
            count = sum(1 for _ in container.decode(video=0))
    if not count:
        raise UsageError(f'{path} must have frames, but has none.')
    return count


def read_frames(path: str, indices: Sequence[int]) -> np.ndarray:
    """Frames of a video.

    Args:
        path (str): The file.
        indices (Sequence[int]): Indices in any order, which may repeat; beyond
            the last frame, that frame is used.

    Returns:
        ndarray: Shape (T, H, W, 3), uint8, RGB.

    Raises:
        UsageError: If it is not a video, or has no frames.
    """
    wanted = set(indices)
    found = {}
    last = -1
    with opened(path, 'video') as container:
        for last, frame in enumerate(container.decode(video=0)):
            if last in wanted:
                found[last] = frame.to_ndarray(format='rgb24')
            if last >= max(wanted):
                break
        else:
            if last < 0:
                raise UsageError(f'{path} must have frames, but has none.')
            # the file announces more than it has
            found.setdefault(last, frame.to_ndarray(format='rgb24'))
    return np.stack([found[min(i, last)] for i in indices])


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write 20 frames per second as Motion JPEG, compressed separately.

    Args:
        path (Path): The file, such as .avi.
        frames (ndarray): Shape (T, H, W, 3), uint8, RGB.
    """
    av = import_av('video')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mjpeg', rate=20)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = 'yuvj444p'
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
