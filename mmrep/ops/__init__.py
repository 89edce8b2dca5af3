"""Depth-wise convolution with large kernels. Needs only PyTorch."""

from .choice import (
    available_backends,
    backend_report,
    explain,
    use_backend,
)
from .functional import depthwise_conv2d
from .module import DepthwiseConv2d, convert_depthwise

__all__ = [
    'DepthwiseConv2d',
    'available_backends',
    'backend_report',
    'convert_depthwise',
    'depthwise_conv2d',
    'explain',
    'use_backend',
]
