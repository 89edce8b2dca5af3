"""What the scripts in ``tools/`` share on the command line."""

import argparse
import gc
import os
import sys
from typing import Callable, Optional

import torch.distributed as dist
from mmengine.config import DictAction

from mmrep.errors import UsageError
from mmrep.runner.faults import explained_faults


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that train.py and test.py have in common."""
    parser.add_argument(
        '--work-dir',
        help="where logs, checkpoints and metrics go; the config's, or "
        'work_dirs/ and its name, if not given',
    )
    parser.add_argument(
        '--data-root', help="folder of the data set, instead of the config's"
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
        help='load checkpoints that may run code; only for files whose source '
        'you trust',
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; parse with :func:`parse_arguments`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. '
        'model.backbone.with_cp=True train_dataloader.num_workers=2; lists '
        'as key="[a,b]"',
    )


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of scripts that also run exported files."""
    parser.add_argument(
        '--runtime',
        choices=['onnxruntime', 'openvino'],
        help='what runs an exported model; ONNX Runtime for .onnx, OpenVINO '
        'for .xml and PyTorch for .pt2 if not given',
    )


def check_runtime(checkpoint: str, runtime: Optional[str]) -> None:
    """Raise if a runtime is asked for, but not for an exported file."""
    if runtime and not checkpoint.endswith(('.onnx', '.pt2', '.xml')):
        raise UsageError(
            f'--runtime is for exported files, got {checkpoint!r}.'
        )


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse; say what is wrong with ``--cfg-options`` if it is not K=V."""
    try:
        return parser.parse_args()
    except ValueError as error:  # from DictAction
        parser.error(f'--cfg-options takes KEY=VALUE ({error})')


def parse_run_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, and tell MMEngine the local rank if the launcher gave it."""
    args = parse_arguments(parser)
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', args.local_rank)
    return args


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main``; end with one line when the input is wrong."""
    status = _call(main)
    if dist.is_initialized():
        # A process group has threads, and one that needs Python while the
        # interpreter shuts down aborts the process. The group lives as long
        # as something refers to it, such as a model in a reference cycle.
        dist.destroy_process_group()
        gc.collect()
    if status:
        sys.exit(status)


def _call(main: Callable[[], None]) -> int:
    """Call ``main``, say in a line what was wrong, return the exit status."""
    try:
        with explained_faults():
            main()
        return 0
    except UsageError as error:
        # from a worker of a data loader it comes with the worker's traceback
        text = str(error).strip().rpartition('\n')[2]
        if text != str(error):
            text = text.partition(f'{type(error).__name__}: ')[2] or text
        sys.stderr.write(f'error: {text}\n')
        return getattr(error, 'exit_code', 1)
    except (Exception, KeyboardInterrupt) as error:
        # MMEngine turns one that comes while it formats a config into another
        interrupts = (error, error.__context__)
        if not any(isinstance(e, KeyboardInterrupt) for e in interrupts):
            raise
        sys.stderr.write('error: interrupted\n')
        return 130
