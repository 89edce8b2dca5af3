"""One file for each architecture."""

from mmrep.models.backbones.mobilenet import LargeKernelMobileNetV2
from mmrep.models.backbones.overlock import OverLoCK
from mmrep.models.backbones.replknet import RepLKNet
from mmrep.models.backbones.unireplknet import UniRepLKNet
from mmrep.models.backbones.wbmm import WBMM

__all__ = [
    'LargeKernelMobileNetV2',
    'OverLoCK',
    'RepLKNet',
    'UniRepLKNet',
    'WBMM',
]
