"""What OpenMMLab's packages say in every run and no user can act on.

Each entry names one message; everything else is shown. The file of the log
has all lines, and so has the terminal with ``log_level='DEBUG'``.
"""

import logging
import warnings
from contextlib import contextmanager
from typing import Any, Iterator

import mmengine.logging

# Beginnings of entries in the log.
_LINES = (
    # hundreds of lines, in front of what was asked for
    f'\n{"-" * 60}\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    # of the norms of a run in one process
    'Distributed training is not used, all SyncBatchNorm',
    # a line for each setting of each parameter
    'paramwise_options -- ',
    # of names that are as the config wants them
    'The prefix is not set in metric class ',
    # what MMEngine's own CheckpointHook calls
    '"FileClient" will be deprecated in future.',
    '"HardDiskBackend" is the alias of "LocalBackend"',
)
# Beginnings of Python's warnings, and the modules that give them.
_WARNINGS = (
    # the default of all published recipes
    (
        'Default ``avg_non_ignore`` is False',
        r'mmseg\.models\.losses\.cross_entropy_loss',
    ),
    # nobody asked for pictures, and --show-dir does without
    ('The draw is False', r'mmseg\.engine\.hooks\.visualization_hook'),
    # how MMSegmentation's own data sets say it
    (
        '`reduce_zero_label` will be deprecated',
        r'mmseg\.datasets\.transforms\.loading',
    ),
    # what MMSegmentation's test-time augmentation does
    (
        'The shape of value will convert from',
        r'mmengine\.structures\.pixel_data',
    ),
    # how MMDetection pastes masks
    (
        'To copy construct from a tensor',
        r'mmdet\.models\.roi_heads\.mask_heads\.fcn_mask_head',
    ),
    # of a box at the border
    (
        r'Warning: The \w+ is out of bounds',
        r'mmengine\.visualization\.visualizer',
    ),
    # in MMDetection's anchors
    ('torch.meshgrid: in an upcoming release', r'torch\.functional'),
    # another way to compute COCO's metrics
    (
        'faster_coco_eval is not installed',
        r'mmdet\.evaluation\.metrics\.faster_coco_metric',
    ),
)
_print_log = mmengine.logging.print_log


def print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
    """MMEngine's, that does not print what is for debugging.

    MMSegmentation and MMDetection say so on import that they have no OneDL.
    """
    if logger is not None or level > logging.DEBUG:
        _print_log(msg, logger, level)


def silence_prints() -> None:
    """Have what is imported from here on use :func:`print_log`."""
    mmengine.logging.print_log = print_log


def silence_warnings() -> None:
    """Have Python ignore the warnings named above."""
    for message, module in _WARNINGS:
        warnings.filterwarnings('ignore', message, module=module)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings named above within a block or a function."""
    with warnings.catch_warnings():
        silence_warnings()
        yield


def silence_logger(logger: logging.Logger) -> None:
    """Leave the lines named above out of a terminal that shows a log.

    Args:
        logger (logging.Logger): MMEngine's, whose handlers have its level;
            those for debugging are left alone.
    """
    for handler in logger.handlers:
        to_file = isinstance(handler, logging.FileHandler)
        if not to_file and handler.level > logging.DEBUG:
            handler.addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LINES)
