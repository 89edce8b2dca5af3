"""Substitutes for parts of OpenMMLab that an environment lacks."""

from .losses import repair_losses
from .mmcv_ext import install, report
from .recall import repair_recalls

__all__ = [
    'install',
    'repair_losses',
    'repair_recalls',
    'report',
]
