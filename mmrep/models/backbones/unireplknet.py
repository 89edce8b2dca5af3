"""UniRepLKNet: large kernels with dilated branches, for any modality.

Paper: `UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio,
Video, Point Cloud, Time-Series and Image Recognition
<https://arxiv.org/abs/2311.15599>`_ (CVPR 2024).
Source: https://github.com/AILab-CVC/UniRepLKNet/blob/b5677d8/unireplknet.py
(Apache-2.0; the released weights likewise). Parameter names are that file's,
so the released checkpoints load as they are.

Maps are (N, C, H, W) with channels_last memory throughout. The published code
moves the channels to the last dimension and back in each block; here they come
last only in memory, and every layer reads them in place.
"""

import re
from typing import Optional, Sequence, Tuple, Union

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmrep.models.backbones.base import StagedBackbone
from mmrep.models.layers import (
    GRN,
    DilatedReparamBlock,
    InplaceGELU,
    LayerNorm2d,
    PointwiseLinear,
    SEBlock,
    WindowProduct,
    bn_scale_shift,
    checkpoint_forward,
    depthwise,
    fold_affine,
    is_frozen_bn,
    may_overwrite,
    merged_depthwise,
    pointwise_linear,
)
from mmrep.registry import MODELS

# Smallest kernel that has parallel dilated branches.
LARGE_KERNEL = 7
WINDOW = re.compile('W([1-9][0-9]*)')


class UniRepLKNetBlock(nn.Module):
    """Depth-wise kernel, SE, and an FFN with GRN, with a shortcut.

    It is the paper's LarK block if the kernel is large, else its SmaK block.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int | str): Size of the depth-wise kernel, odd; or 'W' and
            the size of the windows for a product in windows instead.
        branches (Sequence[tuple[int, int]], optional): Size and dilation of
            the parallel kernels; None means the published ones from size 7 on
            and none below.
        se_ratio (float): Channels in the SE block per input channel.
        ffn_ratio (float): Channels in the FFN per input channel.
        drop_path (float): Probability of dropping the block.
        layer_scale_init_value (float, optional): Initial factor of the block
            before the shortcut; None or 0 means no layer scale.
        norm_cfg (dict): Config of every BN.
        deploy (bool): Build the merged form.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Union[int, str],
        branches: Optional[Sequence[Tuple[int, int]]],
        se_ratio: float,
        ffn_ratio: float,
        drop_path: float,
        layer_scale_init_value: Optional[float],
        norm_cfg: dict,
        deploy: bool,
    ) -> None:
        super().__init__()
        window = WINDOW.fullmatch(str(kernel_size))
        if window:
            kernel_size = int(window[1])
        elif (
            not isinstance(kernel_size, int)
            or kernel_size < 1
            or kernel_size % 2 == 0
        ):
            raise ValueError(
                'a block must have an odd kernel size, or W and the size of '
                f"its windows, such as 'W7', got {kernel_size!r}."
            )
        self.deploy = deploy
        hidden_channels = int(channels * ffn_ratio)
        if window:
            self.dwconv = WindowProduct(channels, kernel_size, deploy)
        elif kernel_size >= LARGE_KERNEL or branches is not None:
            self.dwconv = DilatedReparamBlock(
                channels, kernel_size, norm_cfg, branches, deploy
            )
        else:
            self.dwconv = depthwise(channels, kernel_size, bias=deploy)
        self.norm = (
            nn.Identity()
            if deploy
            else build_norm_layer(norm_cfg, channels)[1]
        )
        self.se = SEBlock(channels, int(channels * se_ratio))
        # Identities replace layers without parameters in the published
        # Sequentials, so names match the released files.
        self.pwconv1 = nn.Sequential(
            nn.Identity(), PointwiseLinear(channels, hidden_channels)
        )
        self.act = nn.Sequential(
            InplaceGELU(), GRN(hidden_channels, bias=not deploy)
        )
        self.pwconv2 = nn.Sequential(
            PointwiseLinear(hidden_channels, channels, bias=deploy),
            nn.Identity(),
        )
        self.gamma: Optional[nn.Parameter] = None
        if not deploy:
            self.pwconv2.append(build_norm_layer(norm_cfg, channels)[1])
            if layer_scale_init_value:
                self.gamma = nn.Parameter(
                    torch.full((channels,), float(layer_scale_init_value))
                )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        if not self.deploy and self.is_mergeable():
            return self._forward_merged(x)
        out = self.se(self.norm(self.dwconv(x)))
        out = self.pwconv2(self.act(self.pwconv1(out)))
        return self._add(x, out, self.gamma)

    def _forward_merged(self, x: Tensor) -> Tensor:
        """Compute like the deploy form, if the batch norms are frozen."""
        kernel, kernel_bias, weight, bias = self.merge()
        conv = self.dwconv
        if isinstance(conv, WindowProduct):
            out = conv.product(x, kernel, kernel_bias)
        else:
            if isinstance(conv, DilatedReparamBlock):
                conv = conv.lk_origin
            out = conv.convolve(x, kernel, kernel_bias)
        out = self.se(out)
        out = self.act[0](self.pwconv1(out))
        out = self.act[1](out, with_bias=False)
        out = pointwise_linear(out, weight, bias)
        return self._add(x, out, None)

    def _add(self, x: Tensor, out: Tensor, gamma: Optional[Tensor]) -> Tensor:
        """Apply shortcut, stochastic depth and layer scale in one pass."""
        scale = None if gamma is None else gamma.reshape(1, -1, 1, 1)
        if self.training and self.drop_path.drop_prob > 0:
            keep = self.drop_path(out.new_ones(out.size(0), 1, 1, 1))
            scale = keep if scale is None else keep * scale
        if scale is not None:
            return torch.addcmul(x, out, scale)
        return out.add_(x) if may_overwrite(out) else x + out

    def is_mergeable(self) -> bool:
        """Whether every batch norm uses its running statistics."""
        return (
            is_frozen_bn(self.norm)
            and is_frozen_bn(self.pwconv2[2])
            and (
                not isinstance(self.dwconv, DilatedReparamBlock)
                or self.dwconv.is_mergeable()
            )
        )

    def merge(self) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parameters of the deploy form; they are differentiable.

        The branches and the norm go into the depth-wise kernel; the bias of
        the GRN, the norm and the layer scale into the second linear layer.

        Returns:
            tuple[Tensor, ...]: Kernel (C, 1, K, K) or table of a product in
                windows, its bias (C, ), weight (C, C') and its bias (C, ).
        """
        if isinstance(self.dwconv, (DilatedReparamBlock, WindowProduct)):
            kernel, kernel_bias = self.dwconv.merge()
        else:
            kernel, kernel_bias = self.dwconv.weight, self.dwconv.bias
        kernel, kernel_bias = fold_affine(
            kernel, kernel_bias, *bn_scale_shift(self.norm)
        )
        linear = self.pwconv2[0]
        scale, shift = bn_scale_shift(self.pwconv2[2])
        beta = self.act[1].beta
        shift = shift + scale * (
            linear.weight.double() @ beta.flatten().double()
        )
        if self.gamma is not None:
            scale = scale * self.gamma.double()
            shift = shift * self.gamma.double()
        weight, bias = fold_affine(linear.weight, linear.bias, scale, shift)
        return kernel, kernel_bias, weight, bias

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Turn into the deploy form in place."""
        if self.deploy:
            return
        kernel, kernel_bias, weight, bias = self.merge()
        if isinstance(self.dwconv, (DilatedReparamBlock, WindowProduct)):
            self.dwconv.set_merged(kernel, kernel_bias)
        else:
            self.dwconv = merged_depthwise(self.dwconv, kernel, kernel_bias)
        self.norm = nn.Identity()
        self.act[1].beta = None
        linear = self.pwconv2[0]
        linear.weight.copy_(weight)
        linear.bias = nn.Parameter(
            bias, requires_grad=linear.weight.requires_grad
        )
        del self.pwconv2[2]
        self.gamma = None
        self.deploy = True


@MODELS.register_module()
class UniRepLKNet(StagedBackbone):
    """UniRepLKNet backbone.

    Args:
        arch (str | dict): 'A', 'F', 'P', 'N', 'T', 'S', 'B', 'L' or 'XL', or
            a dict with ``channels``, ``depths`` and ``kernel_sizes`` (a
            sequence for each stage, a size for each of its blocks, or 'W7'
            for a product in windows of 7x7: :class:`WBMM`), with a value per
            stage, and optionally ``dilated_branches`` (size and dilation of
            the parallel kernels by the size of the large one, if they differ
            from the published ones), ``se_ratio`` (0.25) and ``ffn_ratio``
            (4). Defaults to 'T'.
        in_channels (int): Channels of the input. Defaults to 3.
        out_indices (Sequence[int]): Stages whose maps are returned, of
            strides 4, 8, 16 and 32, each with its own layer norm. Stages after
            the last one are not built. Defaults to (0, 1, 2, 3).
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Defaults to 0.
        layer_scale_init_value (float, optional): Initial factor of each block
            before its shortcut; None or 0 means no layer scale. Defaults to
            1e-6.
        norm_cfg (dict): Config of every BN. Defaults to dict(type='BN').
        frozen_stages (int): Freeze the stem (0), or the stem, the first n
            stages and the transitions between them (n); the layer norms of the
            outputs, which no released backbone has, are still trained. -1
            freezes nothing. Defaults to -1.
        norm_eval (bool): Keep every BN in evaluation mode, so that its
            statistics do not change. Defaults to False.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Build the deploy form. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialization config.
            Defaults to None, the published one: weights of convolutions and
            linear layers from a truncated normal of 0.02, biases 0.

    Examples:
        >>> backbone = UniRepLKNet('T', out_indices=(3, ))
        >>> backbone(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 640, 2, 2])
    """

    _small = dict(
        depths=(2, 2, 6, 2),
        kernel_sizes=((3,) * 2, (13,) * 2, (13,) * 6, (13,) * 2),
    )
    # in stage 2 a large kernel is followed by one or two small ones
    _tiny = dict(
        depths=(3, 3, 18, 3),
        kernel_sizes=((3,) * 3, (13,) * 3, (13, 3) * 9, (13,) * 3),
    )
    _large = dict(
        depths=(3, 3, 27, 3),
        kernel_sizes=((3,) * 3, (13,) * 3, (13, 3, 3) * 9, (13,) * 3),
    )
    arch_settings = {
        'A': dict(channels=(40, 80, 160, 320), **_small),
        'F': dict(channels=(48, 96, 192, 384), **_small),
        'P': dict(channels=(64, 128, 256, 512), **_small),
        'N': dict(
            channels=(80, 160, 320, 640),
            depths=(2, 2, 8, 2),
            kernel_sizes=((3,) * 2, (13,) * 2, (13,) * 8, (13,) * 2),
        ),
        'T': dict(channels=(80, 160, 320, 640), **_tiny),
        'S': dict(channels=(96, 192, 384, 768), **_large),
        'B': dict(channels=(128, 256, 512, 1024), **_large),
        'L': dict(channels=(192, 384, 768, 1536), **_large),
        'XL': dict(channels=(256, 512, 1024, 2048), **_large),
    }
    _arch_defaults = dict(dilated_branches=None, se_ratio=0.25, ffn_ratio=4)

    def __init__(
        self,
        arch: Union[str, dict] = 'T',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
        layer_scale_init_value: Optional[float] = 1e-6,
        norm_cfg: dict = dict(type='BN'),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: Optional[Union[dict, list]] = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(
                type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02
            )
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
        channels = arch['channels']
        branches = arch['dilated_branches'] or {}

        def conv(in_chs: int, out_chs: int) -> nn.Conv2d:
            return nn.Conv2d(in_chs, out_chs, 3, stride=2, padding=1)

        drop_paths = iter(self.drop_path_rates)
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        for i in range(max(self.out_indices) + 1):
            width = channels[i]
            if i == 0:
                down = [
                    conv(in_channels, width // 2),
                    LayerNorm2d(width // 2),
                    InplaceGELU(),
                    conv(width // 2, width),
                ]
            else:
                down = [conv(channels[i - 1], width)]
            self.downsample_layers.append(
                nn.Sequential(*down, LayerNorm2d(width))
            )
            self.stages.append(
                nn.Sequential(
                    *(
                        UniRepLKNetBlock(
                            width,
                            size,
                            branches.get(size),
                            arch['se_ratio'],
                            arch['ffn_ratio'],
                            next(drop_paths),
                            layer_scale_init_value,
                            norm_cfg,
                            deploy,
                        )
                        for size in arch['kernel_sizes'][i]
                    )
                )
            )
            if i in self.out_indices:
                self.add_module(f'norm{i}', LayerNorm2d(width))
        self._freeze_stages()

    @classmethod
    def _parse_arch(cls, arch: Union[str, dict]) -> dict:
        arch = super()._parse_arch(arch)
        for depth, sizes in zip(
            arch['depths'], arch['kernel_sizes'], strict=True
        ):
            if not isinstance(sizes, Sequence) or len(sizes) != depth:
                raise ValueError(
                    'kernel_sizes must have a size for each of the '
                    f'{depth} blocks of a stage, got {sizes}.'
                )
        return arch

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images, or another signal laid out as one, shape
                (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: A map (N, C_i, H_i, W_i) for each of
            ``out_indices``; H_i is H / 4, 8, 16 or 32, rounded up.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i, stage in enumerate(self.stages):
            x = checkpoint_forward(
                self.downsample_layers[i], x, self.with_cp and i > 0
            )
            for block in stage:
                x = checkpoint_forward(block, x, self.with_cp)
            if i in self.out_indices:
                outs.append(self.get_submodule(f'norm{i}')(x))
        return tuple(outs)

    def _locate(self, name: str) -> Optional[Tuple[int, int]]:
        part, index, *rest = name.split('.')
        if part == 'downsample_layers':
            return int(index), -1
        if part == 'stages':
            return int(index), int(rest[0])
        return None

    def _frozen_modules(self, num_stages: int) -> Sequence[nn.Module]:
        return [
            *self.downsample_layers[: max(num_stages, 1)],
            *self.stages[:num_stages],
        ]

    def switch_to_deploy(self) -> None:
        """Merge branches, norms, layer scale and GRN bias, in place."""
        for module in self.modules():
            if isinstance(module, UniRepLKNetBlock):
                module.switch_to_deploy()
        self.deploy = True
