"""MobileNetV2 with depth-wise kernels of any size.

Papers: `MobileNetV2: Inverted Residuals and Linear Bottlenecks
<https://arxiv.org/abs/1801.04381>`_ (CVPR 2018) and, for the large kernels,
`Scaling Up Your Kernels to 31x31 <https://arxiv.org/abs/2203.06717>`_ (CVPR
2022), which derives its Guidelines 2, 3 and 5 from such networks.

Maps are (N, C, H, W) throughout.
"""

from typing import List, Optional, Sequence, Tuple, Union

from mmcv.cnn import build_activation_layer
from torch import Tensor, nn

from mmrep.models.backbones.base import InitCfg, StagedBackbone
from mmrep.models.layers import (
    ReparamLargeKernelConv,
    build_conv_bn,
    checkpoint_forward,
)
from mmrep.registry import MODELS

# For each of the seven stages: expansion and stride of the first block.
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
STRIDES = (1, 2, 2, 2, 1, 2, 1)


def scaled(channels: int, factor: float) -> int:
    """Channels times a factor, as a multiple of 8 that loses under 10 %."""
    rounded = max(8, int(channels * factor + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * factor else rounded


class InvertedResidual(nn.Module):
    """1x1, a depth-wise kernel, 1x1, with a shortcut if shapes agree.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        expansion (int): Ratio of the depth-wise channels to those of the
            input; 1 omits the first 1x1.
        stride (int): Stride of the depth-wise convolution.
        kernel_size (int): Size of the depth-wise kernel.
        small_kernel (int, optional): Size of the parallel kernel.
        shortcut (bool): Add the input if stride and channels allow it.
        norm_cfg (dict): Config of every norm.
        act_cfg (dict): Config of the activations.
        deploy (bool): Build the merged depth-wise kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        kernel_size: int,
        small_kernel: Optional[int],
        shortcut: bool,
        norm_cfg: dict,
        act_cfg: dict,
        deploy: bool,
    ) -> None:
        super().__init__()
        channels = in_channels * expansion
        self.pw1 = None
        if expansion != 1:
            self.pw1 = build_conv_bn(
                nn.Conv2d(in_channels, channels, 1, bias=False),
                norm_cfg,
                act_cfg,
            )
        self.large_kernel = ReparamLargeKernelConv(
            channels, kernel_size, small_kernel, norm_cfg, deploy, stride
        )
        self.nonlinear = build_activation_layer(act_cfg)
        self.pw2 = build_conv_bn(
            nn.Conv2d(channels, out_channels, 1, bias=False), norm_cfg
        )
        self.shortcut = (
            shortcut and stride == 1 and in_channels == out_channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        out = x if self.pw1 is None else self.pw1(x)
        out = self.pw2(self.nonlinear(self.large_kernel(out)))
        return x + out if self.shortcut else out


@MODELS.register_module()
class LargeKernelMobileNetV2(StagedBackbone):
    """MobileNetV2 whose depth-wise kernels may be large.

    With its defaults it is MobileNetV2 without the last 1x1 convolution and
    the classifier. Kernels with stride 2 also have the size of their stage.

    Args:
        widen_factor (float): Ratio of every number of channels to
            MobileNetV2's. Defaults to 1.0.
        kernel_sizes (int | Sequence[int]): Size of the depth-wise kernels,
            or one for each of the seven stages. Defaults to 3.
        small_kernel (int, optional): Size of the re-parameterized kernel
            parallel to every larger one. Defaults to None, for none.
        shortcut (bool): Whether blocks have their shortcut. Defaults to
            True.
        in_channels (int): Channels of the image. Defaults to 3.
        out_indices (Sequence[int]): Stages whose maps are returned; their
            strides are 2, 4, 8, 16, 16, 32 and 32. Stages after the last
            one are not built. Defaults to (1, 2, 4, 6).
        norm_cfg (dict): Config of every norm. Defaults to dict(type='BN').
        act_cfg (dict): Config of every activation. Defaults to
            dict(type='ReLU6').
        frozen_stages (int): Freeze the stem (0), or the stem and the first n
            stages (n). -1 freezes nothing. Defaults to -1.
        norm_eval (bool): Keep every BN in evaluation mode, so that its
            statistics do not change. Defaults to False.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Build the deploy form, with merged kernels. Defaults
            to False.
        init_cfg (dict, optional): Initialization config. Defaults to None.

    Examples:
        >>> backbone = LargeKernelMobileNetV2(kernel_sizes=13, small_kernel=3)
        >>> [tuple(m.shape) for m in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 24, 16, 16), (1, 32, 8, 8), (1, 96, 4, 4), (1, 320, 2, 2)]
    """

    channels = (16, 24, 32, 64, 96, 160, 320)
    depths = (1, 2, 3, 4, 3, 3, 1)

    def __init__(
        self,
        widen_factor: float = 1.0,
        kernel_sizes: Union[int, Sequence[int]] = 3,
        small_kernel: Optional[int] = None,
        shortcut: bool = True,
        in_channels: int = 3,
        out_indices: Sequence[int] = (1, 2, 4, 6),
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='ReLU6'),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        if isinstance(kernel_sizes, int):
            kernel_sizes = (kernel_sizes,) * len(self.depths)
        if len(kernel_sizes) != len(self.depths):
            raise ValueError(
                f'kernel_sizes must be one size or {len(self.depths)} of '
                f'them, got {kernel_sizes}.'
            )
        if widen_factor <= 0:
            raise ValueError(
                f'widen_factor must be positive, got {widen_factor}.'
            )
        if small_kernel is not None and (
            small_kernel < 1 or small_kernel % 2 == 0
        ):
            raise ValueError(
                f'small_kernel must be odd and positive, got {small_kernel}.'
            )
        channels = tuple(scaled(c, widen_factor) for c in self.channels)
        super().__init__(
            dict(
                channels=channels,
                depths=self.depths,
                kernel_sizes=tuple(kernel_sizes),
            ),
            in_channels,
            out_indices,
            0.0,
            frozen_stages,
            norm_eval,
            with_cp,
            deploy,
            init_cfg,
        )
        width = scaled(32, widen_factor)
        self.stem = build_conv_bn(
            nn.Conv2d(in_channels, width, 3, 2, padding=1, bias=False),
            norm_cfg,
            act_cfg,
        )
        self.stages = nn.ModuleList()
        for i in range(max(self.out_indices) + 1):
            size = kernel_sizes[i]
            blocks: List[nn.Module] = []
            for j in range(self.depths[i]):
                blocks.append(
                    InvertedResidual(
                        width,
                        channels[i],
                        EXPANSIONS[i],
                        STRIDES[i] if j == 0 else 1,
                        size,
                        # next to a kernel of the same size it would add
                        # nothing
                        small_kernel if size > (small_kernel or 0) else None,
                        shortcut,
                        norm_cfg,
                        act_cfg,
                        deploy,
                    )
                )
                width = channels[i]
            self.stages.append(nn.ModuleList(blocks))
        self._freeze_stages()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images, shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: A map (N, C_i, H_i, W_i) for each of
            ``out_indices``; H_i is H over the stage's stride, rounded up.
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            for block in stage:
                x = checkpoint_forward(block, x, self.with_cp)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _locate(self, name: str) -> Optional[Tuple[int, int]]:
        part, *rest = name.split('.')
        if part == 'stem':
            return 0, -1
        return int(rest[0]), int(rest[1])

    def _frozen_modules(self, num_stages: int) -> Sequence[nn.Module]:
        return [self.stem, *self.stages[:num_stages]]

    def switch_to_deploy(self) -> None:
        """Merge every kernel with its branch and norms, in place."""
        for module in self.modules():
            if isinstance(module, ReparamLargeKernelConv):
                module.switch_to_deploy()
        self.deploy = True
