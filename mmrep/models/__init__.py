from mmrep.models.backbones import RepLKNet, UniRepLKNet
from mmrep.models.classifier import ImageClassifier

__all__ = ['ImageClassifier', 'RepLKNet', 'UniRepLKNet']
