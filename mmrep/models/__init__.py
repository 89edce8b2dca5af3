from mmrep.models.backbones import RepLKNet

__all__ = ['RepLKNet']
