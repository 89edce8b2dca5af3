"""Files that are either whole or not there."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

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
            f'{path} cannot be written: {error.strerror or error}'
        ) from error
    finally:
        partial.unlink(missing_ok=True)
