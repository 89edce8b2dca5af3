"""Backbones, a classifier around one, and test-time augmentation."""

from mmrep.models.backbones import (
    LargeKernelMobileNetV2,
    RepLKNet,
    UniRepLKNet,
)
from mmrep.models.classifier import ImageClassifier
from mmrep.models.preprocessor import seg_data_preprocessor
from mmrep.models.tta import InstanceTTAModel

__all__ = [
    'ImageClassifier',
    'InstanceTTAModel',
    'LargeKernelMobileNetV2',
    'RepLKNet',
    'UniRepLKNet',
    'seg_data_preprocessor',
]
