"""Code shared by the scripts in ``tools/``: values, errors, exit."""

import ast
import gc
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import torch.distributed as dist
from mmengine.config import DictAction

from mmrep.compat.noise import silence_warnings
from mmrep.errors import UsageError, explain_channels
from mmrep.files import is_full
from mmrep.runner.faults import explained_faults
from mmrep_cli.arguments import stop_text

_PACKAGE = Path(__file__).parents[1]
_python_format = warnings.formatwarning


class OptionsAction(DictAction):
    """MMEngine's KEY=VALUE, with dicts as values too.

    ``KEY={'depths': [2, 2], 'kernel_sizes': 7}`` and ``KEY=dict(depths=2)``,
    alone or in a list, are parsed like Python.
    """

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        text = val.strip()
        # not iter_{}.pth
        python = text.startswith(('{', 'dict(')) or (
            text.startswith(('[', '(')) and ('{' in text or 'dict(' in text)
        )
        if not python:
            try:
                return DictAction._parse_iterable(val)
            except (AssertionError, RecursionError) as error:  # brackets
                raise ValueError(error) from error
        try:
            return _literal(ast.parse(text, mode='eval').body)
        except (SyntaxError, TypeError, ValueError) as error:
            raise ValueError(
                f'{text} is not a dict or list that Python can read: quote '
                'the names, and quote the whole value for the shell'
            ) from error


def _literal(node: ast.expr) -> Any:
    """The value of constants, containers and ``dict(key=value)``."""
    if isinstance(node, ast.Call):
        if getattr(node.func, 'id', None) != 'dict' or node.args:
            raise ValueError('only dict(key=value) may be called')
        return {key.arg: _literal(key.value) for key in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(map(_literal, node.elts))
    return ast.literal_eval(node)


def check_file_options(
    checkpoint: str, runtime: Optional[str], amp: Optional[str]
) -> None:
    """Raise an error if an option does not suit the given file.

    Args:
        checkpoint (str): A checkpoint, or an exported file.
        runtime (str, optional): ``--runtime``, for exported files.
        amp (str, optional): ``--amp``, for checkpoints.
    """
    exported = checkpoint.endswith(('.onnx', '.pt2', '.xml'))
    if runtime and not exported:
        raise UsageError(
            f'--runtime applies only to exported files, got {checkpoint!r}.'
        )
    if amp and exported:
        raise UsageError(
            '--amp applies only to checkpoints, because an exported file has '
            f'its own precision; got {checkpoint!r}; tools/quantize.py makes '
            'an eight-bit file.'
        )


def _format_warning(
    message: Any, category: type, filename: str, *args: Any
) -> str:
    """One line for mmrep's own warnings, and Python's form for others."""
    if Path(filename).is_relative_to(_PACKAGE):
        return f'warning: {message}\n'
    return _python_format(message, category, filename, *args)


class _Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; its argument is the signal's number."""


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main``; end with one line if the input is wrong.

    The first Ctrl-C or SIGTERM raises a KeyboardInterrupt. Others are ignored,
    because unfinished files are being removed.
    """
    silence_warnings()
    warnings.formatwarning = _format_warning
    with _stoppable():
        status = _call(main)
    if dist.is_initialized():
        # A process group has threads, and a thread that needs Python while the
        # interpreter shuts down aborts the process. The group exists as long
        # as something refers to it, such as a model in a reference cycle. The
        # reducer of DDP must not be the last: its end waits for the threads
        # and does not let them have Python, so both would wait forever.
        group = dist.group.WORLD
        dist.destroy_process_group()
        gc.collect()
        del group
    if status:
        sys.exit(status)


@contextmanager
def _stoppable() -> Iterator[None]:
    own = os.getpid()
    numbers = signal.SIGINT, signal.SIGTERM

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != own:  # a worker, whose parent decides
            if number == signal.SIGTERM:
                os._exit(128 + number)
            raise KeyboardInterrupt
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            # ignored until the process ends if one has stopped it
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)


def _call(main: Callable[[], None]) -> int:
    """Call ``main``, explain errors in one line, return the exit status."""
    try:
        with explained_faults():
            main()
        return 0
    except UsageError as error:
        # from a data loader worker it includes the worker's traceback
        text = str(error).strip().rpartition('\n')[2]
        if text != str(error):
            text = text.partition(f'{type(error).__name__}: ')[2] or text
        sys.stderr.write(f'error: {text}\n')
        return getattr(error, 'exit_code', 1)
    except (Exception, KeyboardInterrupt) as error:
        if is_full(error):
            sys.stderr.write(
                f'error: {error.strerror}; free some space and run the '
                'command again.\n'
            )
            return 1
        channels = explain_channels(error, 'a layer of the model')
        if channels:
            sys.stderr.write(f'error: {channels}.\n')
            return 1
        # MMEngine turns an error while it formats a config into another one
        interrupts = [
            e
            for e in (error, error.__context__)
            if isinstance(e, KeyboardInterrupt)
        ]
        if not interrupts:
            raise
        stopped = isinstance(interrupts[0], _Stopped)
        number = interrupts[0].args[0] if stopped else signal.SIGINT
        sys.stderr.write(f'error: {stop_text(number)}\n')
        return 128 + number
