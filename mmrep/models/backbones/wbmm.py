"""WBMM: UniRepLKNet with products in windows instead of large kernels.

Paper: `Windowed Batch Matrix Multiplication for Efficient Large Receptive
Field Convolution <https://arxiv.org/abs/2607.02097>`_ (ICML 2026). Source:
https://github.com/wansong-s/WBMM (Apache-2.0). Parameter names of the
training form are that repository's, so the released checkpoints load as they
are; its deploy form has other names.
"""

import inspect
from typing import Any

from mmrep.models.backbones.unireplknet import UniRepLKNet
from mmrep.registry import MODELS, check_keywords


@MODELS.register_module()
class WBMM(UniRepLKNet):
    """WBMM backbone for dense prediction, with products in windows.

    It differs from UniRepLKNet in nothing else, so a comparison of the two
    shows what a large kernel gains. It takes the arguments of
    :class:`UniRepLKNet`; ``arch`` is 'T', 'S' or a dict, whose
    ``kernel_sizes`` may have the word 'W7' for a block with windows of 7x7.
    An ONNX file may have free sizes. A ``.pt2`` program needs ``--static``,
    because its guards refuse maps that the windows divide.

    Examples:
        >>> backbone = WBMM('T', out_indices=(3, ))
        >>> backbone(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 640, 2, 2])
    """

    _ends = ('W7', 3, 'W7')
    arch_settings = {
        'T': dict(
            channels=(80, 160, 320, 640),
            depths=(3, 3, 18, 3),
            kernel_sizes=(_ends, _ends, ('W7', 3) * 9, ('W7',) * 3),
        ),
        'S': dict(
            channels=(96, 192, 384, 768),
            depths=(3, 3, 27, 3),
            kernel_sizes=(_ends, _ends, ('W7', 3, 3) * 9, ('W7',) * 3),
        ),
    }

    __signature__ = inspect.signature(UniRepLKNet)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # of an unknown keyword, which Python would call UniRepLKNet's
        check_keywords(type(self), kwargs)
        super().__init__(*args, **kwargs)
