"""Messages of OpenMMLab's packages on which no user can act.

Each entry names one message; everything else is shown. The log file has all
lines, and so does the terminal with ``log_level='DEBUG'``.
"""

import logging
import warnings
from contextlib import contextmanager
from typing import Any, Iterator

import mmengine.logging
from mmengine.logging import MMLogger

# Beginnings of entries in the log.
_LINES = (
    # hundreds of lines before the relevant ones
    f'\n{"-" * 60}\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    # about the norms of a run in one process
    'Distributed training is not used, all SyncBatchNorm',
    # a line for each setting of each parameter
    'paramwise_options -- ',
    # about names that are as the config wants them
    'The prefix is not set in metric class ',
    # by load_from, whose file is named in the next line
    'Loads checkpoint by ',
    # of a run without schedulers
    '`save_param_scheduler` is True but `self.param_schedulers` is None',
    '`resume_param_scheduler` is True but `self.param_schedulers` is None',
    # one line at the end says it
    'Traceback (most recent call last)',
    # called by MMEngine's own CheckpointHook
    '"FileClient" will be deprecated in future.',
    '"HardDiskBackend" is the alias of "LocalBackend"',
)
# Beginnings of Python's warnings, and the modules that raise them.
_WARNINGS = (
    # the default of all published recipes
    (
        'Default ``avg_non_ignore`` is False',
        r'mmseg\.models\.losses\.cross_entropy_loss',
    ),
    # nobody asked for pictures, and --show-dir does not need it
    ('The draw is False', r'mmseg\.engine\.hooks\.visualization_hook'),
    # the form in MMSegmentation's own data sets
    (
        '`reduce_zero_label` will be deprecated',
        r'mmseg\.datasets\.transforms\.loading',
    ),
    # called by MMSegmentation's own heads
    (
        '``build_pixel_sampler`` would be deprecated',
        r'mmseg\.structures\.sampler\.builder',
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
    # for a box at the border
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
# Loggers of ONNX export whose warnings nobody can act on.
_LOGGERS = (
    # that ONNX has no form of torchvision's operators, if it is not installed
    'torch.onnx._internal.exporter._registration',
    # a line for each node with several outputs, as in OverLoCK
    'onnxscript.optimizer._constant_folding',
)
_print_log = mmengine.logging.print_log


def print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
    """MMEngine's ``print_log``, without prints on which no user can act.

    MMSegmentation and MMDetection use it on import to say that OneDL is
    missing, and MMEngine while it loads a checkpoint.
    """
    noise = level <= logging.DEBUG or str(msg).startswith(_LINES)
    # 'current' would create a logger if there is none
    logs = logger is not None and bool(MMLogger._instance_dict)
    if logs or not noise:
        _print_log(msg, logger, level)


def silence_prints() -> None:
    """Make later imports use :func:`print_log`."""
    mmengine.logging.print_log = print_log


def silence_warnings() -> None:
    """Make Python and PyTorch ignore warnings on which no user can act."""
    for message, module in _WARNINGS:
        warnings.filterwarnings('ignore', message, module=module)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings named above within a block or a function."""
    with warnings.catch_warnings():
        silence_warnings()
        yield


def silence_logger(logger: logging.Logger) -> None:
    """Hide the lines named above from a terminal that shows a log.

    Args:
        logger (logging.Logger): MMEngine's logger, whose handlers have its
            level; those for debugging are not changed.
    """
    for handler in logger.handlers:
        to_file = isinstance(handler, logging.FileHandler)
        if not to_file and handler.level > logging.DEBUG:
            handler.addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LINES)
