"""Commands of gpu_day.py: each ends with everything that it started."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# A command that writes a longer log is stopped.
ENDLESS = 64 << 20
# Seconds until killing is given up.
LOST = 10
# prctl(PR_SET_CHILD_SUBREAPER): processes that a command leaves behind stay
# our children.
SUBREAPER = 36
# prctl(PR_SET_PDEATHSIG): a command ends with us, even if we are killed.
DEATH_SIGNAL = 1
LIBC = ctypes.CDLL(None)
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
# Processes that not even SIGKILL has ended, as in a driver that hangs.
IMMORTAL = set()


def attempt(command, log, limit, is_full=lambda: False):
    """Run a command; return how it ended and its status or None."""
    deadline = time.monotonic() + limit
    environment = {**os.environ, **command.environment}
    try:
        process = subprocess.Popen(
            command.words,
            cwd=command.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL),
        )
    except OSError as error:
        return f'failed: {error}', None
    IMMORTAL.discard(process.pid)
    ended = None
    try:
        while process.poll() is None:
            if is_full():
                ended = 'disk full'
            elif os.fstat(log.fileno()).st_size > ENDLESS:
                ended = f'failed: over {ENDLESS >> 20} MB of output'
            elif time.monotonic() > deadline - command.grace:
                ended = f'cut: {limit:.0f} s are over'
            if ended:
                end_all(process, command.warning, command.grace)
                break
            time.sleep(0.1)
    finally:
        end_all(process, signal.SIGKILL, LOST)
    status = process.poll()
    if ended:
        return ended, None
    if status == 0:
        return 'done', 0
    if status is not None and status < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f'crashed: {known.get(-status, f"signal {-status}")}', status
    return f'failed: status {status}', status


def end_all(process, number, seconds):
    """End everything that a command started, and wait.

    A warning goes to the command alone: a training whose data loader dies
    writes no checkpoint.
    """
    end = time.monotonic() + seconds
    warns = number != signal.SIGKILL
    kill({process.pid} if warns else descendants(), number)
    while time.monotonic() < end:
        # first the command, because its status counts
        if process:
            process.poll()
        left = descendants()
        if not left:
            return
        for pid in left - {process and process.pid}:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # its parent has not collected it yet
        if number == signal.SIGKILL:
            kill(descendants(), number)
        time.sleep(0.05)
    if number == signal.SIGKILL:
        # later commands must not wait for it too
        IMMORTAL.update(descendants())


def kill(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass  # it has ended, or is another user's


def descendants():
    """Descendants of this process, in any session."""
    parents = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            text = path.read_bytes()
        except OSError:
            continue  # it has ended
        # the name, in parentheses, may contain anything
        parents[int(path.parent.name)] = int(
            text.rpartition(b')')[2].split()[1]
        )
    found, new = set(), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found - IMMORTAL


def guard():
    """Go on in a child, whose processes end even if one of us is killed."""
    LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    for number in SIGNALS:
        # even if a shell ignores it, as after '&'
        signal.signal(number, stop)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setsid()  # what is sent to our group reaches only the parent
        LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
        LIBC.prctl(DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
        return
    for number in SIGNALS:
        signal.signal(number, lambda number, _: kill([child], number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end_all(None, signal.SIGKILL, LOST)
    sys.exit(status if status >= 0 else 128 - status)


def stop(number, frame):
    """End with everything that runs, once."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    try:
        print('interrupted: --resume continues', file=sys.stderr, flush=True)
    except OSError:
        pass  # the terminal is closed
    sys.exit(128 + number)
