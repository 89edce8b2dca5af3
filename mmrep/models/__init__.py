from mmrep.models.backbones import (
    WBMM,
    LargeKernelMobileNetV2,
    OverLoCK,
    RepLKNet,
    UniRepLKNet,
)
from mmrep.models.classifier import ImageClassifier
from mmrep.models.tta import InstanceTTAModel

__all__ = [
    'ImageClassifier',
    'InstanceTTAModel',
    'LargeKernelMobileNetV2',
    'OverLoCK',
    'RepLKNet',
    'UniRepLKNet',
    'WBMM',
]
