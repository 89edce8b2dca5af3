"""What stands in for parts of OpenMMLab that an environment lacks."""

from .configs import config_names, find_config, find_package_configs
from .losses import repair_losses
from .mmcv_ext import install, report

__all__ = [
    'config_names',
    'find_config',
    'find_package_configs',
    'install',
    'repair_losses',
    'report',
]
