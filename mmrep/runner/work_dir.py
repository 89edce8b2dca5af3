"""Files of a work dir: their names, notes for a resumed run, and a lock."""

import os
import socket
import time
from pathlib import Path
from typing import Optional

from mmrep.errors import UsageError
from mmrep.files import write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

INTERRUPTED = 'interrupted_iter_{}.pth'
POST_MORTEM = 'post_mortem_iter_{}.pth'
_LOCK_NAME = '.train.lock'


def set_last_checkpoint(work_dir: str, checkpoint: str) -> None:
    """Make ``last_checkpoint`` name a complete checkpoint."""
    write_text(Path(work_dir, 'last_checkpoint'), checkpoint, flush=True)


def set_last_validation(work_dir: str, iteration: int) -> None:
    """Store the iteration of the last validation in ``last_validation``."""
    write_text(Path(work_dir, 'last_validation'), str(iteration), flush=True)


def last_validation(work_dir: str) -> Optional[int]:
    """The value of :func:`set_last_validation`, or None if unreadable."""
    try:
        return int(Path(work_dir, 'last_validation').read_text())
    except (OSError, ValueError):
        return None


class WorkDirLock:
    """Keep a second training run out of a work dir.

    The lock belongs to the system, so it disappears with the process, however
    that ends. A file system without locks leads to a warning instead.

    Args:
        work_dir (str): The folder, which is created if needed.

    Raises:
        UsageError: If another process has the lock, or the folder cannot be
            written.
    """

    def __init__(self, work_dir: str) -> None:
        self.warning: Optional[str] = None
        path = Path(work_dir, _LOCK_NAME)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open('a+')
        except OSError as error:
            raise UsageError(
                f'the work dir {work_dir} cannot be written '
                f'({error.strerror}); pass another one with --work-dir.'
            ) from error
        if fcntl is None:
            return
        try:
            # unlike flock, data loader workers do not inherit it
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            self._file.seek(0)
            owner = self._file.read().strip() or 'an unknown process'
            self._file.close()
            raise UsageError(
                f'the work dir {work_dir} is in use by another training run '
                f'({owner}); wait for it, or pass another --work-dir.'
            ) from error
        except OSError as error:
            self.warning = (
                f'the work dir {work_dir} cannot be locked '
                f'({error.strerror}): make sure that no other training run '
                'uses it.'
            )
            return
        self._file.truncate(0)
        self._file.write(
            f'process {os.getpid()} on {socket.gethostname()} since '
            f'{time.strftime("%Y-%m-%d %H:%M:%S")}\n'
        )
        self._file.flush()

    def release(self) -> None:
        """Let others use the folder."""
        self._file.close()
