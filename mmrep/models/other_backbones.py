"""Any backbone, with the operator in its depth-wise layers."""

from torch import nn

from mmrep.ops import DepthwiseConv2d, convert_depthwise
from mmrep.registry import MODELS


@MODELS.register_module(name='FastDepthwise')
def fast_depthwise(
    backbone: dict, min_kernel: int = 7, backend: str = 'auto'
) -> nn.Module:
    """Build a backbone whose depth-wise layers use the operator.

    The result is the backbone itself, with its own class, parameter names,
    checkpoints and methods. In a config::

        backbone=dict(
            type='mmrep.FastDepthwise', backbone=dict(type='mmseg.MSCAN')
        )

    Args:
        backbone (dict): Config of the backbone; ``type`` with its scope.
        min_kernel (int): Smallest longer side of the kernels to change.
            Defaults to 7.
        backend (str): 'auto', 'native', 'fft' or 'triton'. Defaults to
            'auto'.

    Returns:
        nn.Module: The backbone.

    Raises:
        ValueError: If the backbone has no such layers.
    """
    model = MODELS.build(backbone)
    if not convert_depthwise(model, min_kernel, backend):
        if any(isinstance(m, DepthwiseConv2d) for m in model.modules()):
            raise ValueError(
                f'{type(model).__name__} uses the operator already, so '
                'FastDepthwise changes nothing; give the backbone itself.'
            )
        raise ValueError(
            f'{type(model).__name__} has no depth-wise layer with a kernel '
            f'size of {min_kernel} or more that the operator can compute.'
        )
    return model
