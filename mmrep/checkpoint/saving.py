"""Files that are either whole or not there."""

import io
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator

import torch

from mmrep.errors import UsageError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Write a file under another name; it gets its own when all went well.

    Args:
        path (Path): Where the file goes. Its folder is made.

    Yields:
        Path: Another name in the same folder, with the same suffix.

    Raises:
        UsageError: If the file cannot be written.
    """
    partial = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(
            f'{path} cannot be written: {error.strerror or error}.'
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def save(data: Any, path: Path) -> None:
    """``torch.save``, whose errors are those of the file.

    Given a path it raises a RuntimeError that does not name the cause, such
    as a full disk.

    Raises:
        OSError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(data, buffer)
    path.write_bytes(buffer.getbuffer())
