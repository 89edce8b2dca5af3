from mmrep.models.backbones import (
    LargeKernelMobileNetV2,
    RepLKNet,
    UniRepLKNet,
)
from mmrep.models.classifier import ImageClassifier

__all__ = [
    'ImageClassifier',
    'LargeKernelMobileNetV2',
    'RepLKNet',
    'UniRepLKNet',
]
