"""What stands in for parts of OpenMMLab that an environment lacks."""

from .mmcv_ext import install, report

__all__ = ['install', 'report']
