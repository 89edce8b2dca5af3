"""Checkpoints that are either whole or not there.

MMEngine writes a checkpoint under its final name, and removes the one before
while the new one is not yet written. Here a file is written beside its place,
flushed to the disk and renamed, and what it replaces goes afterwards.
"""

import os
import shutil
from pathlib import Path
from typing import Callable, Optional

INTERRUPTED = 'interrupted_iter_{}.pth'
POST_MORTEM = 'post_mortem_iter_{}.pth'


def _flush(path: Path) -> None:
    """Have the disk hold a file, or the entries of a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot for folders
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a checkpoint, a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Where a checkpoint is until it is whole."""
    return path.with_name(f'.{path.name}.part')


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make a file or folder, then give it its name.

    Args:
        path (Path): Where it goes.
        write (Callable): Called with another path of the same folder.
    """
    partial = partial_path(path)
    try:
        write(partial)
        for part in partial.iterdir() if partial.is_dir() else [partial]:
            _flush(part)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise
    _flush(path.parent)


def remove_partial(work_dir: str) -> None:
    """Remove what a process that was killed had begun to write."""
    for path in Path(work_dir).glob('.*.part'):
        remove(path)


def set_last_checkpoint(work_dir: str, checkpoint: str) -> None:
    """Have ``last_checkpoint`` name a checkpoint that is whole."""
    replace(
        Path(work_dir, 'last_checkpoint'),
        lambda path: path.write_text(checkpoint),
    )


def set_last_validation(work_dir: str, iteration: int) -> None:
    """Have ``last_validation`` say after which iteration one was done."""
    replace(
        Path(work_dir, 'last_validation'),
        lambda path: path.write_text(str(iteration)),
    )


def last_validation(work_dir: str) -> Optional[int]:
    """What :func:`set_last_validation` wrote, None if that cannot be read."""
    try:
        return int(Path(work_dir, 'last_validation').read_text())
    except (OSError, ValueError):
        return None
