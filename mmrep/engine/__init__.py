"""From a command line to a run: configs, switches, checks, launch."""

from mmrep.engine.config import (
    check_data,
    check_folder,
    check_png,
    enable_amp,
    enable_aug_test,
    enable_half_test,
    enable_output,
    load_config,
    set_data_root,
    set_work_dir,
)
from mmrep.engine.launch import build_runner

__all__ = [
    'build_runner',
    'check_data',
    'check_folder',
    'check_png',
    'enable_amp',
    'enable_aug_test',
    'enable_half_test',
    'enable_output',
    'load_config',
    'set_data_root',
    'set_work_dir',
]
