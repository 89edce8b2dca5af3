"""Command-line options shared by the scripts in ``tools/``.

Only the standard library is imported here, so ``--help`` appears at once:
``import mmrep`` imports torch and takes seconds.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any


def positive(text: str) -> int:
    """Type of options that take 1 or more."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """Type of ``--seed``, which NumPy's generators take from 0 on."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(
            f'must be {least} or more, got {text}'
        )
    return value


class _OptionsAction(argparse.Action):
    """KEY=VALUE, parsed by :class:`mmrep.engine.cli.OptionsAction`."""

    def __call__(self, *args: Any) -> None:
        from mmrep.engine.cli import OptionsAction

        OptionsAction(self.option_strings, self.dest, nargs='+')(*args)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that train.py and test.py have in common."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and metrics (default: the '
        "config's, or work_dirs/CONFIG)",
    )
    parser.add_argument(
        '--data-root', help="folder of the data set (default: the config's)"
    )
    add_checkpoint_arguments(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes, if there are several',
    )
    # Passed by torch.distributed.launch.
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of scripts that read a config and a checkpoint."""
    add_config_options(parser)
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that may run code; use it only for files '
        'whose source you trust',
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; parse with :func:`parse_arguments`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. '
        'model.backbone.with_cp=True train_dataloader.num_workers=2; write '
        'lists as key="[a,b]", dicts as key="dict(a=1,b=2)"',
    )


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of scripts that also run exported files."""
    parser.add_argument(
        '--runtime',
        choices=['onnxruntime', 'openvino'],
        help='what runs an exported model (default: ONNX Runtime for .onnx, '
        'OpenVINO for .xml, PyTorch for .pt2)',
    )


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of scripts that predict with a checkpoint."""
    parser.add_argument(
        '--amp',
        choices=['bf16', 'fp16'],
        help='predict in 16 bits, except for the last layers of the heads '
        'and NMS (default: fp32)',
    )


def explain_interrupts() -> None:
    """End with one line on Ctrl-C and SIGTERM during the slow imports.

    After them, :func:`mmrep.engine.cli.run` takes over.
    """
    if 'torch' not in sys.modules:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse; refuse empty arguments, explain errors of ``--cfg-options``."""
    explain_interrupts()
    _refuse_empty(parser)
    try:
        return parser.parse_args()
    except ValueError as error:  # from OptionsAction
        parser.error(f'--cfg-options takes KEY=VALUE ({error})')


def _end(number: int, frame: Any) -> None:
    """Nothing has been written yet, so nothing needs cleaning up."""
    os.write(2, f'error: {stop_text(number)}\n'.encode())
    os._exit(128 + number)


def stop_text(number: int) -> str:
    """What a signal did to the process."""
    if number == signal.SIGINT:
        return 'interrupted'
    return f'ended by {signal.Signals(number).name}'


def _refuse_empty(parser: argparse.ArgumentParser) -> None:
    """Refuse '', as of a shell's unset variable: a folder it would be '.'."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                _refuse_empty(part)
            return  # those have the arguments
    parser.register('type', None, _word)
    parser.register('type', Path, lambda text: Path(_word(text)))


def _word(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text


def parse_run_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, and pass on the local rank if the launcher gave it."""
    args = parse_arguments(parser)
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', args.local_rank)
    return args
