"""One file for each architecture."""

from mmrep.models.backbones.mobilenet import LargeKernelMobileNetV2
from mmrep.models.backbones.replknet import RepLKNet
from mmrep.models.backbones.unireplknet import UniRepLKNet

__all__ = ['LargeKernelMobileNetV2', 'RepLKNet', 'UniRepLKNet']
