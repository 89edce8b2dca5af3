from mmrep.models.backbones.replknet import RepLKNet

__all__ = ['RepLKNet']
