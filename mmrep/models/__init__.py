from mmrep.models.backbones import RepLKNet, UniRepLKNet

__all__ = ['RepLKNet', 'UniRepLKNet']
