"""RepLKNet: a ConvNet with kernels of up to 31x31.

Paper: `Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in
CNNs <https://arxiv.org/abs/2203.06717>`_ (CVPR 2022).
Source: https://github.com/DingXiaoH/RepLKNet-pytorch/blob/b76808a/replknet.py
(MIT; the released weights likewise). Parameter names are that file's, so the
released checkpoints load as they are.

Maps are (N, C, H, W) throughout.
"""

from typing import List, Optional, Sequence, Tuple, Union

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmrep.models.backbones.base import StagedBackbone
from mmrep.models.layers import (
    NormFirstBlock,
    ReparamLargeKernelConv,
    build_conv_bn,
    checkpoint_forward,
    fold_bn_ahead,
    overwrite_input,
)
from mmrep.registry import MODELS


class RepLKBlock(NormFirstBlock):
    """BN, 1x1, large depth-wise kernel, 1x1, with a shortcut (Figure 4).

    Args:
        in_channels (int): Channels of the input and of the output.
        dw_channels (int): Channels of the depth-wise convolution.
        kernel_size (int): Size of the large kernel.
        small_kernel (int, optional): Size of the parallel kernel.
        drop_path (float): Probability of dropping the block.
        norm_cfg (dict): Config of every norm.
        act_cfg (dict): Config of the activations.
        deploy (bool): Build the merged large kernel.
    """

    def __init__(
        self,
        in_channels: int,
        dw_channels: int,
        kernel_size: int,
        small_kernel: Optional[int],
        drop_path: float,
        norm_cfg: dict,
        act_cfg: dict,
        deploy: bool,
    ) -> None:
        super().__init__()
        self.prelkb_bn = build_norm_layer(norm_cfg, in_channels)[1]
        self.pw1 = build_conv_bn(
            nn.Conv2d(in_channels, dw_channels, 1, bias=False),
            norm_cfg,
            act_cfg,
        )
        self.large_kernel = ReparamLargeKernelConv(
            dw_channels, kernel_size, small_kernel, norm_cfg, deploy
        )
        self.lk_nonlinear = build_activation_layer(act_cfg)
        self.pw2 = build_conv_bn(
            nn.Conv2d(dw_channels, in_channels, 1, bias=False), norm_cfg
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out = self.pw1(self.prelkb_bn(x))
        out = self.lk_nonlinear(self.large_kernel(out))
        return x + self.drop_path(self.pw2(out))

    def fold_norms(self) -> None:
        """Fold the norm in front; the GELU then overwrites its input."""
        self.prelkb_bn = fold_bn_ahead(self.prelkb_bn, self.pw1[0])
        overwrite_input(self.lk_nonlinear)


class ConvFFN(NormFirstBlock):
    """BN, 1x1, GELU, 1x1, with a shortcut (Figure 4).

    Args:
        in_channels (int): Channels of the input and of the output.
        hidden_channels (int): Channels between the two convolutions.
        drop_path (float): Probability of dropping the block.
        norm_cfg (dict): Config of every norm.
        act_cfg (dict): Config of the activation.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        drop_path: float,
        norm_cfg: dict,
        act_cfg: dict,
    ) -> None:
        super().__init__()
        self.preffn_bn = build_norm_layer(norm_cfg, in_channels)[1]
        self.pw1 = build_conv_bn(
            nn.Conv2d(in_channels, hidden_channels, 1, bias=False), norm_cfg
        )
        self.nonlinear = build_activation_layer(act_cfg)
        self.pw2 = build_conv_bn(
            nn.Conv2d(hidden_channels, in_channels, 1, bias=False), norm_cfg
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out = self.nonlinear(self.pw1(self.preffn_bn(x)))
        return x + self.drop_path(self.pw2(out))

    def fold_norms(self) -> None:
        """Fold the norm in front; the GELU then overwrites its input."""
        self.preffn_bn = fold_bn_ahead(self.preffn_bn, self.pw1[0])
        overwrite_input(self.nonlinear)


class RepLKNetStage(nn.Module):
    """Blocks of one resolution, alternating RepLKBlock and ConvFFN.

    Args:
        blocks (Sequence[nn.Module]): The blocks.
        norm (nn.Module, optional): Norm of the stage's output map, for
            ``norm_intermediate_features``; applied by the backbone.
        with_cp (bool): Recompute each block in the backward pass.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: Optional[nn.Module],
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        for block in self.blocks:
            x = checkpoint_forward(block, x, self.with_cp)
        return x


@MODELS.register_module()
class RepLKNet(StagedBackbone):
    """RepLKNet backbone.

    Args:
        arch (str | dict): '31B', '31L' or 'XL', or a dict with ``channels``,
            ``depths`` (RepLK blocks per stage) and ``kernel_sizes``, a value
            per stage, and optionally ``small_kernel`` (defaults to 5; None
            for no branch), ``dw_ratio`` (1) and ``ffn_ratio`` (4).
            Defaults to '31B'.
        in_channels (int): Channels of the image. Defaults to 3.
        out_indices (Sequence[int]): Stages whose maps are returned, of
            strides 4, 8, 16 and 32. Stages after the last one are not
            built. Defaults to (0, 1, 2, 3).
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Defaults to 0.
        norm_cfg (dict): Config of every norm. Defaults to dict(type='BN').
        act_cfg (dict): Config of the activations outside the ConvFFN.
            Defaults to dict(type='ReLU').
        ffn_act_cfg (dict): Config of the activation in the ConvFFN. Defaults
            to dict(type='GELU').
        norm_intermediate_features (bool): Put a norm on each returned map,
            as RepLKNet-XL has downstream. Defaults to False.
        frozen_stages (int): Freeze the stem (0), or the stem, the first n
            stages and the transitions between them (n). -1 freezes nothing.
            Defaults to -1.
        norm_eval (bool): Keep every BN in evaluation mode, so that its
            statistics do not change. Defaults to False.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Build the deploy form, with merged large kernels.
            Defaults to False.
        init_cfg (dict, optional): Initialization config. Defaults to None.

    Examples:
        >>> backbone = RepLKNet('31B', out_indices=(3, ))
        >>> backbone(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 1024, 2, 2])
    """

    arch_settings = {
        '31B': dict(
            channels=(128, 256, 512, 1024),
            depths=(2, 2, 18, 2),
            kernel_sizes=(31, 29, 27, 13),
        ),
        '31L': dict(
            channels=(192, 384, 768, 1536),
            depths=(2, 2, 18, 2),
            kernel_sizes=(31, 29, 27, 13),
        ),
        'XL': dict(
            channels=(256, 512, 1024, 2048),
            depths=(2, 2, 18, 2),
            kernel_sizes=(27, 27, 27, 13),
            small_kernel=None,
            dw_ratio=1.5,
        ),
    }
    _arch_defaults = dict(small_kernel=5, dw_ratio=1, ffn_ratio=4)

    def __init__(
        self,
        arch: Union[str, dict] = '31B',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='ReLU'),
        ffn_act_cfg: dict = dict(type='GELU'),
        norm_intermediate_features: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(
            arch,
            in_channels,
            out_indices,
            drop_path_rate,
            frozen_stages,
            norm_eval,
            with_cp,
            deploy,
            init_cfg,
        )
        arch = self.arch
        channels, depths = arch['channels'], arch['depths']

        def conv(in_chs: int, out_chs: int, size: int, **kwargs) -> nn.Module:
            return build_conv_bn(
                nn.Conv2d(
                    in_chs,
                    out_chs,
                    size,
                    padding=size // 2,
                    bias=False,
                    **kwargs,
                ),
                norm_cfg,
                act_cfg,
            )

        base = channels[0]
        self.stem = nn.ModuleList(
            [
                conv(in_channels, base, 3, stride=2),
                conv(base, base, 3, groups=base),
                conv(base, base, 1),
                conv(base, base, 3, stride=2, groups=base),
            ]
        )
        drop_paths = iter(self.drop_path_rates)
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for i in range(max(self.out_indices) + 1):
            if i > 0:
                self.transitions.append(
                    nn.Sequential(
                        conv(channels[i - 1], channels[i], 1),
                        conv(
                            channels[i],
                            channels[i],
                            3,
                            stride=2,
                            groups=channels[i],
                        ),
                    )
                )
            blocks: List[nn.Module] = []
            for _ in range(depths[i]):
                drop_path = next(drop_paths)
                blocks.append(
                    RepLKBlock(
                        channels[i],
                        int(channels[i] * arch['dw_ratio']),
                        arch['kernel_sizes'][i],
                        arch['small_kernel'],
                        drop_path,
                        norm_cfg,
                        act_cfg,
                        deploy,
                    )
                )
                blocks.append(
                    ConvFFN(
                        channels[i],
                        int(channels[i] * arch['ffn_ratio']),
                        drop_path,
                        norm_cfg,
                        ffn_act_cfg,
                    )
                )
            norm = None
            if norm_intermediate_features and i in self.out_indices:
                norm = build_norm_layer(norm_cfg, channels[i])[1]
            self.stages.append(RepLKNetStage(blocks, norm, with_cp))
        self._freeze_stages()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images, shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: A map (N, C_i, H_i, W_i) for each of
            ``out_indices``; H_i is H / 4, 8, 16 or 32, rounded up.
        """
        for i, layer in enumerate(self.stem):
            x = checkpoint_forward(layer, x, self.with_cp and i > 0)
        outs = []
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.transitions[i - 1](x)
            x = stage(x)
            if i in self.out_indices:
                outs.append(x if stage.norm is None else stage.norm(x))
        return tuple(outs)

    def _locate(self, name: str) -> Optional[Tuple[int, int]]:
        part, index, *rest = name.split('.')
        if part == 'stem':
            return 0, -1
        if part == 'transitions':
            return int(index) + 1, -1
        if part == 'stages' and rest[0] == 'blocks':
            return int(index), int(rest[1]) // 2  # RepLKBlock and ConvFFN
        return None

    def _frozen_modules(self, num_stages: int) -> Sequence[nn.Module]:
        return [
            self.stem,
            *self.stages[:num_stages],
            *self.transitions[: max(num_stages - 1, 0)],
        ]

    def switch_to_deploy(self) -> None:
        """Merge every large kernel with its branch and norms, in place.

        The other norms stay, as in the released deploy files; to fold them,
        see :func:`mmrep.deploy.fuse_conv_bn`.
        """
        for module in self.modules():
            if isinstance(module, ReparamLargeKernelConv):
                module.switch_to_deploy()
        self.deploy = True
