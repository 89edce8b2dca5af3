"""Files and folders that are either complete or absent."""

import errno
import io
import json
import os
import re
import shutil
import socket
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Sequence, Union

import cv2
import numpy as np
import torch

from mmrep.errors import UsageError

# of one process on one machine, or of several that write together
_PARTIAL = re.compile(r'\.partial(-(?P<pid>\d{1,9})-(?P<host>[^.]*))?\.')

# the disk, the user's quota, a limit on the size of files
_FULL = (errno.ENOSPC, getattr(errno, 'EDQUOT', errno.ENOSPC), errno.EFBIG)


def as_path(value: Any, what: str) -> Path:
    """A path that a user passed.

    Raises:
        UsageError: If it is not a path, or is '', which would be this folder.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise UsageError(f'{what} must be a path, got {value!r}.')
    return Path(value)


class WriteError(UsageError):
    """A file or folder cannot be written.

    Args:
        path (Path): The file or folder.
        error (OSError): The reason.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.strerror = error.strerror or str(error)
        super().__init__(f'{path} cannot be written: {self.strerror}.')


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or a file is full."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def replaced(
    path: Union[str, Path], flush: bool = False, shared: bool = False
) -> Iterator[Path]:
    """Write a file or a folder under a temporary name until it is complete.

    If all goes well it then gets its final name and replaces what had that
    name; otherwise nothing is left. Remains of killed processes in the folder
    are removed first.

    Args:
        path (str | Path): Where the file or folder goes. Its parent folder is
            created.
        flush (bool): Flush it to disk before it gets its name, so that even a
            power failure leaves either the old or the new one. Defaults to
            False.
        shared (bool): Whether other processes write parts of it, at
            :func:`partial_path`. Defaults to False.

    Yields:
        Path: The temporary name, in the same folder and with the same suffix.
            Nothing exists there yet.

    Raises:
        WriteError: If the system cannot write it, as when the disk is full.
    """
    path = Path(path)
    partial = partial_path(path, shared)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_remains_once(path.parent.resolve())
        if not shared:  # from an earlier process with the same id
            remove(partial)
        yield partial
        if flush:
            parts = partial.iterdir() if partial.is_dir() else [partial]
            for part in parts:
                _flush(part)
        if partial.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
        if flush:
            _flush(path.parent)
    except OSError as error:
        raise WriteError(path, error) from error
    finally:
        with suppress(OSError):
            remove(partial)


@contextmanager
def new_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Make a folder with its contents; see :func:`replaced`.

    Raises:
        UsageError: If the path is empty or already exists.
        WriteError: If the system cannot write it.
    """
    path = as_path(path, 'the folder to make')
    if os.path.lexists(path):
        raise UsageError(
            f'{path} must not exist yet; remove it, or give another folder.'
        )
    with replaced(path) as folder:
        folder.mkdir()
        yield folder


def partial_path(path: Path, shared: bool = False) -> Path:
    """Where a file or folder is until it is complete; see :func:`replaced`."""
    owner = '' if shared else f'-{os.getpid()}-{_host()}'
    # a name may have 255 bytes
    name = os.fsencode(path.name)[-150:].decode(errors='ignore')
    return path.with_name(f'.partial{owner}.{name}')


def remove_remains(folder: Union[str, Path], shared: bool = False) -> None:
    """Remove what killed processes had begun to write.

    Args:
        folder (str | Path): Where they wrote. Files of a running process or of
            another machine stay.
        shared (bool): Also remove what several processes wrote together, for a
            caller who knows that none of them still does. Defaults to False.
    """
    for path in Path(folder).glob('.partial*'):
        name = _PARTIAL.match(path.name)
        if name is None:
            continue
        if name['pid'] is None:
            left = shared
        else:
            left = name['host'] == _host() and not _is_alive(int(name['pid']))
        if left:
            with suppress(OSError):
                remove(path)


@lru_cache
def _remove_remains_once(folder: Path) -> None:
    """Remove remains only once, not for each of thousands of pictures."""
    remove_remains(folder)


@lru_cache
def _host() -> str:
    """This machine, or this container, which has its own process ids."""
    name = socket.gethostname().partition('.')[0][:63]
    with suppress(OSError):  # only on Linux
        name += f'-{os.stat("/proc/self/ns/pid").st_ino}'
    return name


def _is_alive(pid: int) -> bool:
    if os.name == 'nt':  # os.kill ends a process there, whatever the signal
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:  # Windows and some file systems cannot flush folders
        if not folder:
            raise


def write_text(path: Union[str, Path], text: str, flush: bool = False) -> None:
    """Write a text in UTF-8; see :func:`replaced`."""
    with replaced(path, flush) as partial:
        partial.write_text(text, encoding='utf-8')


def write_json(path: Union[str, Path], value: Any) -> None:
    """Write a value as JSON; see :func:`replaced`."""
    write_text(path, json.dumps(value, indent=1) + '\n')


def torch_save(data: Any, path: Path) -> None:
    """``torch.save``, but with the errors of the file.

    With a path, ``torch.save`` raises a RuntimeError that does not name the
    cause, such as a full disk.

    Raises:
        OSError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(data, buffer)
    path.write_bytes(buffer.getbuffer())


def write_image(
    path: Union[str, Path], image: np.ndarray, params: Sequence[int] = ()
) -> None:
    """``cv2.imwrite``, but with an error if the disk is full.

    Args:
        path (str | Path): The file; its suffix sets the format.
        image (np.ndarray): In OpenCV's form, shape (H, W) or (H, W, C).
        params (Sequence[int]): OpenCV's parameters of the format.

    Raises:
        OSError: If the file cannot be written.
    """
    _, content = cv2.imencode(Path(path).suffix, image, params)
    Path(path).write_bytes(content)
