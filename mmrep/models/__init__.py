"""Backbones, a classifier around one, and test-time augmentation."""

from mmrep.models.backbones import (
    WBMM,
    LargeKernelMobileNetV2,
    OverLoCK,
    RepLKNet,
    UniRepLKNet,
)
from mmrep.models.classifier import ImageClassifier
from mmrep.models.other_backbones import fast_depthwise
from mmrep.models.preprocessor import seg_data_preprocessor
from mmrep.models.tta import InstanceTTAModel

__all__ = [
    'ImageClassifier',
    'InstanceTTAModel',
    'LargeKernelMobileNetV2',
    'OverLoCK',
    'RepLKNet',
    'UniRepLKNet',
    'WBMM',
    'fast_depthwise',
    'seg_data_preprocessor',
]
