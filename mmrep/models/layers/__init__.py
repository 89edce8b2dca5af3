"""Layers that the backbones share."""

from mmrep.models.layers.checkpointing import checkpoint_forward
from mmrep.models.layers.conv_bn import (
    NormFirstBlock,
    bn_scale_shift,
    build_conv_bn,
    fold_affine,
    fold_bn,
    fold_bn_ahead,
    is_frozen_bn,
)
from mmrep.models.layers.norms import (
    CPUSyncBatchNorm,
    SingleImageBatchNorm,
)
from mmrep.models.layers.pointwise import (
    GRN,
    InplaceGELU,
    LayerNorm2d,
    PointwiseLinear,
    SEBlock,
    may_overwrite,
    overwrite_input,
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
    'CPUSyncBatchNorm',
    'DILATED_BRANCHES',
    'DilatedReparamBlock',
    'GRN',
    'InplaceGELU',
    'LayerNorm2d',
    'NormFirstBlock',
    'PointwiseLinear',
    'ReparamLargeKernelConv',
    'SEBlock',
    'SingleImageBatchNorm',
    'bn_scale_shift',
    'build_conv_bn',
    'checkpoint_forward',
    'depthwise',
    'fold_affine',
    'fold_bn',
    'fold_bn_ahead',
    'is_frozen_bn',
    'may_overwrite',
    'merged_depthwise',
    'overwrite_input',
    'pointwise_linear',
]
