from mmrep.models.backbones.replknet import RepLKNet
from mmrep.models.backbones.unireplknet import UniRepLKNet

__all__ = ['RepLKNet', 'UniRepLKNet']
