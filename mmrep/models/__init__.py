from mmrep.models.backbones import (
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
]
