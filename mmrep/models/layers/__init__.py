from mmrep.models.layers.checkpointing import checkpoint_forward
from mmrep.models.layers.conv_bn import build_conv_bn, fold_bn
from mmrep.models.layers.reparam import ReparamLargeKernelConv

__all__ = [
    'ReparamLargeKernelConv',
    'build_conv_bn',
    'checkpoint_forward',
    'fold_bn',
]
