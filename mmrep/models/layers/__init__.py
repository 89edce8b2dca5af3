"""Layers that the backbones share."""

from mmrep.models.layers.checkpointing import checkpoint_forward
from mmrep.models.layers.contmix import ContMix
from mmrep.models.layers.conv_bn import (
    NormFirstBlock,
    bn_scale_shift,
    build_conv_bn,
    fold_affine,
    fold_bn,
    fold_bn_ahead,
    fold_bn_behind,
    is_frozen_bn,
)
from mmrep.models.layers.neighbourhood import (
    neighbourhood_product,
    relative_bias,
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
from mmrep.models.layers.pooling import MatrixPool2d, matrix_pool
from mmrep.models.layers.reparam import (
    DILATED_BRANCHES,
    DilatedReparamBlock,
    ReparamLargeKernelConv,
    depthwise,
    merged_depthwise,
)
from mmrep.models.layers.residual import (
    LayerScale2d,
    ResidualDepthwise,
    SEGate,
)
from mmrep.models.layers.windows import WindowProduct

__all__ = [
    'CPUSyncBatchNorm',
    'ContMix',
    'DILATED_BRANCHES',
    'DilatedReparamBlock',
    'GRN',
    'InplaceGELU',
    'LayerNorm2d',
    'LayerScale2d',
    'MatrixPool2d',
    'NormFirstBlock',
    'PointwiseLinear',
    'ReparamLargeKernelConv',
    'ResidualDepthwise',
    'SEBlock',
    'SEGate',
    'SingleImageBatchNorm',
    'WindowProduct',
    'bn_scale_shift',
    'build_conv_bn',
    'checkpoint_forward',
    'depthwise',
    'fold_affine',
    'fold_bn',
    'fold_bn_ahead',
    'fold_bn_behind',
    'is_frozen_bn',
    'may_overwrite',
    'matrix_pool',
    'merged_depthwise',
    'neighbourhood_product',
    'overwrite_input',
    'pointwise_linear',
    'relative_bias',
]
