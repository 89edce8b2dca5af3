from mmrep.models.layers.checkpointing import checkpoint_forward
from mmrep.models.layers.conv_bn import (
    bn_scale_shift,
    build_conv_bn,
    fold_affine,
    fold_bn,
    is_frozen_bn,
)
from mmrep.models.layers.pointwise import (
    GRN,
    LayerNorm2d,
    PointwiseLinear,
    SEBlock,
    pointwise_linear,
)
from mmrep.models.layers.reparam import (
    DILATED_BRANCHES,
    DilatedReparamBlock,
    ReparamLargeKernelConv,
    depthwise,
    merged_depthwise,
)

__all__ = [
    'DILATED_BRANCHES',
    'DilatedReparamBlock',
    'GRN',
    'LayerNorm2d',
    'PointwiseLinear',
    'ReparamLargeKernelConv',
    'SEBlock',
    'bn_scale_shift',
    'build_conv_bn',
    'checkpoint_forward',
    'depthwise',
    'fold_affine',
    'fold_bn',
    'is_frozen_bn',
    'merged_depthwise',
    'pointwise_linear',
]
