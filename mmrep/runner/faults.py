"""Faults from outside a run: signals and lost processes."""

import os
import re
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, Dict, Iterator, List, Optional, Sequence, TextIO

import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info

from mmrep.errors import UsageError, one_line

_SIGNALS = ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP')
# Errors of gloo and the store when a process does not answer; NCCL's watchdog
# ends the process with its own text.
_NETWORK = re.compile(
    r'gloo|Connection (closed|reset|refused)|[Tt]imed? ?out|'
    r'DistNetworkError|Broken pipe|clients joined',
)


class RunStopped(UsageError):
    """A run ended early, in a state that can be resumed.

    Args:
        text (str): What happened, and what to do.
        exit_code (int): Status to end the process with.
    """

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Unheard:
    """A stream whose reader may be gone, such as a closed terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written, and return the length of the text."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with suppress(OSError):
            self._stream.flush()


class Interrupts:
    """Note a request to stop, so that the run can stop cleanly.

    SIGINT (Ctrl-C), SIGTERM (Slurm, torchrun), SIGUSR1 (Slurm's
    ``--signal``) and SIGHUP (a closed terminal; not under nohup) are noted; a
    second SIGINT interrupts at once. Handlers can only be set in the main
    thread; elsewhere nothing is noted.

    Args:
        logger (logging.Logger): Logger for the answer to the first signal.
    """

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.signal: Optional[int] = None
        self._pid = os.getpid()
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> 'Interrupts':
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                number = getattr(signal, name, None)
                if number is None:  # Windows
                    continue
                ignored = signal.getsignal(number) is signal.SIG_IGN
                if name == 'SIGHUP' and ignored:  # by nohup
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self._pid:
            # a data loader worker: Ctrl-C reaches it too, and its parent
            # decides
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if signal.Signals(number).name == 'SIGHUP':  # not on Windows
            # otherwise output printed before the end would change it
            sys.stdout, sys.stderr = map(Unheard, (sys.stdout, sys.stderr))
        if self.signal is None:
            self.signal = number
            text = (
                f'{signal.Signals(number).name} received: writing a '
                'checkpoint after this iteration'
                + (
                    '; press Ctrl-C again to stop at once.'
                    if number == signal.SIGINT
                    else '.'
                )
            )
            # the main thread may be writing a line of the log, and cannot
            # begin another before; a thread waits until it is finished
            threading.Thread(target=self.logger.warning, args=[text]).start()


class Agreement:
    """Small votes of all processes, separate from gradient traffic.

    Args:
        seconds (float, optional): How long to wait for the others. Defaults
            to None, PyTorch's default.
    """

    _group: Optional[dist.ProcessGroup] = None

    def __init__(self, seconds: Optional[float] = None) -> None:
        self.rank, self.world_size = get_dist_info()
        if self.world_size > 1:
            timeout = None if seconds is None else timedelta(seconds=seconds)
            # on the CPU, so no GPU waits for a vote
            self._group = dist.new_group(backend='gloo', timeout=timeout)

    def highest(self, *values: int) -> List[int]:
        """The elementwise maximum over all processes."""
        if self._group is None:
            return list(values)
        votes = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(votes, dist.ReduceOp.MAX, self._group)
        return votes.tolist()

    def gather(self, value: Any) -> Sequence[Any]:
        """Every process's ``value``, by rank."""
        if self._group is None:
            return [value]
        values: List[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, self._group)
        return values


@contextmanager
def explained_faults() -> Iterator[None]:
    """Explain in one line that another process is gone.

    Raises:
        RunStopped: Instead of the network error.
    """
    try:
        yield
    except RuntimeError as error:
        # only the text distinguishes gloo's errors from others
        known = isinstance(error, getattr(dist, 'DistError', ()))
        several = known or dist.is_initialized() and dist.get_world_size() > 1
        if not (several and (known or _NETWORK.search(str(error)))):
            raise
        rank = os.environ.get('RANK', '?')
        raise RunStopped(
            f'rank {rank} on {socket.gethostname()} lost another process or '
            f'got no answer in time ({one_line(error)[:300]}). The first '
            'error of any rank says more. Once all nodes are reachable, '
            'resume with --resume. env_cfg.dist_cfg.timeout sets the seconds '
            'to wait.'
        ) from error
