"""OverLoCK: an overview first, which chooses kernels for a closer look.

Paper: `OverLoCK: An Overview-first-Look-Closely-next ConvNet with
Context-Mixing Dynamic Kernels <https://arxiv.org/abs/2502.20087>`_ (CVPR
2025). Source: https://github.com/LMMMEng/OverLoCK/blob/2c8ab3b/models/overlock.py
(Apache-2.0). Parameter names are that file's, so the released checkpoints load
as they are.

The base net (stages 1 to 3) feeds two nets. The overview net is an ordinary
fourth stage. The focus net repeats the third and fourth stage; it concatenates
the overview to its maps and uses it to choose dynamic kernels (ContMix).

Maps are (N, C, H, W) with channels_last memory throughout.
"""

from typing import Any, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmrep.models.backbones.base import StagedBackbone
from mmrep.models.layers import (
    GRN,
    ContMix,
    DilatedReparamBlock,
    InplaceGELU,
    LayerNorm2d,
    LayerScale2d,
    NormFirstBlock,
    ResidualDepthwise,
    SEGate,
    checkpoint_forward,
    depthwise,
    fold_bn_ahead,
    fold_bn_behind,
)
from mmrep.registry import MODELS

# Size and dilation of the kernels parallel to a large one, as published;
# UniRepLKNet has one branch fewer for most sizes.
BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 1), (3, 2), (3, 3)),
    9: ((5, 1), (7, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (7, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (7, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
    19: ((5, 1), (7, 1), (9, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
# A quarter of the overview's channels is added to the focus net's.
CONTEXT_RATIO = 4


def _large_kernel(
    channels: int, kernel_size: int, norm_cfg: dict, deploy: bool
) -> DilatedReparamBlock:
    if kernel_size not in BRANCHES:
        raise ValueError(
            f'kernel sizes must be in {tuple(BRANCHES)}, for which branches '
            f'are published, got {kernel_size}.'
        )
    branches = BRANCHES[kernel_size]
    return DilatedReparamBlock(
        channels, kernel_size, norm_cfg, branches, deploy
    )


def _ffn(channels: int, hidden_channels: int) -> List[nn.Module]:
    """Two linear layers with a 3x3 kernel and GRN between them."""
    return [
        nn.Conv2d(channels, hidden_channels, 1),
        InplaceGELU(),
        ResidualDepthwise(hidden_channels),
        GRN(hidden_channels, channels_first=True),
        nn.Conv2d(hidden_channels, channels, 1),
    ]


def _shortcut_scale(channels: int, scales: bool) -> nn.Module:
    return LayerScale2d(channels) if scales else nn.Identity()


class RepConvBlock(NormFirstBlock):
    """Block of base and overview net: large kernel, SE, FFN, and a shortcut.

    Args:
        channels (int): Channels of the input and of the output.
        kernel_size (int): Size of the large kernel.
        ffn_ratio (float): Channels in the FFN per input channel.
        drop_path (float): Probability of dropping the block.
        scales_shortcut (bool): Scale the shortcut by channel.
        norm_cfg (dict): Config of every BN.
        deploy (bool): Build the merged form.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        ffn_ratio: float,
        drop_path: float,
        scales_shortcut: bool,
        norm_cfg: dict,
        deploy: bool,
    ) -> None:
        super().__init__()
        self.dwconv = ResidualDepthwise(channels)
        self.proj = nn.Sequential(
            LayerNorm2d(channels),
            _large_kernel(channels, kernel_size, norm_cfg, deploy),
            build_norm_layer(norm_cfg, channels)[1],
            SEGate(channels),
            *_ffn(channels, int(channels * ffn_ratio)),
            DropPath(drop_path),
        )
        self.ls = _shortcut_scale(channels, scales_shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        x = self.dwconv(x)
        return self.ls(x) + self.proj(x)

    def fold_norms(self) -> None:
        """Fold the norm after the large kernel into it, for inference."""
        self.proj[2] = fold_bn_behind(self.proj[1], self.proj[2])


class DynamicConvBlock(ContMix, NormFirstBlock):
    """Block of the focus net: ContMix with a large kernel, a gate, an FFN.

    Its input has its own channels, followed by those of the context.

    Args:
        channels (int): Channels of the map.
        context_channels (int): Channels of the context.
        kernel_size (int): Size of the large kernel, fixed and dynamic.
        small_kernel (int): Size of the small dynamic kernel.
        num_heads (int): Number of dynamic kernels of each size.
        ffn_ratio (float): Channels in the FFN per channel of the map.
        drop_path (float): Probability of dropping either part.
        scales_shortcut (bool): Scale the shortcuts by channel.
        is_first (bool): Use the context as it is; no overview is added.
        norm_cfg (dict): Config of every BN.
        deploy (bool): Build the merged form.
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        kernel_size: int,
        small_kernel: int,
        num_heads: int,
        ffn_ratio: float,
        drop_path: float,
        scales_shortcut: bool,
        is_first: bool,
        norm_cfg: dict,
        deploy: bool,
    ) -> None:
        super().__init__(
            channels,
            context_channels,
            (small_kernel, kernel_size),
            num_heads,
            norm_cfg,
        )
        self.widths = channels, context_channels
        joint = channels + context_channels

        def norm(width: int) -> nn.Module:
            return build_norm_layer(norm_cfg, width)[1]

        self.x_scale: Optional[nn.Module] = None
        self.h_scale: Any = None
        if not is_first:
            self.x_scale = LayerScale2d(context_channels)
            self.h_scale = LayerScale2d(context_channels)
        self.dwconv1 = ResidualDepthwise(joint)
        self.norm1 = LayerNorm2d(joint)
        self.fusion = nn.Sequential(
            depthwise(joint, 3, bias=True),
            norm(joint),
            InplaceGELU(),
            nn.Conv2d(joint, channels, 1),
            GRN(channels, channels_first=True),
        )
        self.dyconv_proj = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), norm(channels)
        )
        self.lepe = nn.Sequential(
            _large_kernel(channels, kernel_size, norm_cfg, deploy),
            norm(channels),
        )
        self.se_layer = SEGate(channels)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            norm(channels),
            nn.SiLU(),
        )
        self.proj = nn.Sequential(
            norm(channels), nn.Conv2d(channels, joint, 1)
        )
        self.dwconv2 = ResidualDepthwise(joint)
        self.norm2 = LayerNorm2d(joint)
        layers = _ffn(joint, int(channels * ffn_ratio))
        self.mlp = nn.Sequential(*layers)
        self.ls1 = _shortcut_scale(joint, scales_shortcut)
        self.ls2 = _shortcut_scale(joint, scales_shortcut)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, overview: Tensor) -> Tensor:
        """Mix a map, and its context with the overview.

        Args:
            x (Tensor): Shape (N, channels + context_channels, H, W).
            overview (Tensor): Shape (N, context_channels, H, W); the first
                block omits it, because it is already in ``x``.

        Returns:
            Tensor: Shape (N, channels + context_channels, H, W).
        """
        if self.x_scale is not None:
            x, context = x.split(self.widths, 1)
            context = self.x_scale(context) + self.h_scale(overview)
            x = torch.cat([x, context], 1)
        x = self.dwconv1(x)
        out = self.norm1(x)
        query, context = out.split(self.widths, 1)
        out = self.fusion(out)
        gate = self.gate(out)
        out = self.dyconv_proj(self.mix(out, query, context)) + self.lepe(out)
        out = self.proj(gate * self.se_layer(out))
        x = self.dwconv2(self.ls1(x) + self.drop_path(out))
        return self.ls2(x) + self.drop_path(self.mlp(self.norm2(x)))

    def fold_norms(self) -> None:
        """Fold norms around the large kernel and the gate, for inference."""
        self.lepe[1] = fold_bn_behind(self.lepe[0], self.lepe[1])
        self.proj[0] = fold_bn_ahead(self.proj[0], self.proj[1])


class ContextDownsample(nn.Module):
    """Halve a map and the context that follows it, separately.

    Args:
        channels (tuple[int, int]): Channels of the map before and after.
        context_channels (int): Channels of the context.
        norm_cfg (dict): Config of every BN.
    """

    def __init__(
        self, channels: Tuple[int, int], context_channels: int, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.widths = channels[0], context_channels
        self.x_proj = _downsample(*channels, norm_cfg)
        self.h_proj = _downsample(context_channels, context_channels, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / 2, W / 2)."""
        x, context = x.split(self.widths, 1)
        return torch.cat([self.x_proj(x), self.h_proj(context)], 1)


def _downsample(
    in_channels: int, out_channels: int, norm_cfg: dict
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False),
        build_norm_layer(norm_cfg, out_channels)[1],
    )


def _stem(in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    half = channels // 2
    layers: List[nn.Module] = []
    for before, after, stride in (
        (in_channels, half, 2),
        (half, half, 1),
        (half, channels, 2),
        (channels, channels, 1),
    ):
        layers += [
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            build_norm_layer(norm_cfg, after)[1],
            nn.GELU(),
        ]
    return nn.Sequential(*layers[:-1])


@MODELS.register_module()
class OverLoCK(StagedBackbone):
    """OverLoCK backbone.

    Args:
        arch (str | dict): 'XT', 'T', 'S' or 'B', or a dict with ``channels``,
            ``depths`` and ``kernel_sizes``, with a value for each stage of the
            base net and the overview net, and optionally, for the focus net,
            ``focus_depths`` ((4, 2)) and ``focus_heads`` ((4, 8), half the
            number of dynamic kernels of a size), a value for each of its two
            stages, ``small_kernel`` (5) and ``focus_ffn_ratio`` (3), and
            ``ffn_ratio`` (4) for the other nets. Defaults to 'T'.
        in_channels (int): Channels of the input. Defaults to 3.
        out_indices (Sequence[int]): Maps that are returned, of strides 4, 8,
            16 and 32, each with its own layer norm: two of the base net and
            two of the focus net, which also have a quarter of the overview's
            channels (:attr:`out_channels`). Parts that only later maps need
            are not built. Defaults to (0, 1, 2, 3).
        overview_output (bool): Add the overview's map to the last one, as
            the authors' detectors do. Defaults to False.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Defaults to 0.
        norm_cfg (dict): Config of every BN. Defaults to dict(type='BN').
        frozen_stages (int): Freeze the stem (0), or the stem and the first n
            parts in the order of computation: three stages of the base net,
            the overview net, two stages of the focus net, each with what
            leads to it. -1 freezes nothing. Defaults to -1.
        norm_eval (bool): Keep every BN in evaluation mode, so that its
            statistics do not change. Defaults to False.
        with_cp (bool): Recompute activations in the backward pass to save
            memory. Defaults to False.
        deploy (bool): Build the deploy form, which is the authors': one large
            kernel instead of its branches. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialization config.
            Defaults to None, the published one: weights of convolutions from
            a truncated normal of 0.02, biases 0.

    Examples:
        >>> backbone = OverLoCK('XT', out_indices=(3, ))
        >>> backbone(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 420, 2, 2])
    """

    arch_settings = {
        'XT': dict(
            channels=(56, 112, 256, 336),
            depths=(2, 2, 3, 2),
            kernel_sizes=(17, 15, 13, 7),
            focus_depths=(6, 2),
            focus_heads=(4, 6),
        ),
        'T': dict(
            channels=(64, 128, 256, 512),
            depths=(4, 4, 6, 2),
            kernel_sizes=(17, 15, 13, 7),
            focus_depths=(12, 2),
            focus_heads=(4, 8),
        ),
        'S': dict(
            channels=(64, 128, 320, 512),
            depths=(6, 6, 8, 3),
            kernel_sizes=(17, 15, 13, 7),
            focus_depths=(16, 3),
            focus_heads=(8, 16),
        ),
        'B': dict(
            channels=(80, 160, 384, 576),
            depths=(8, 8, 10, 4),
            kernel_sizes=(17, 15, 13, 7),
            focus_depths=(20, 4),
            focus_heads=(6, 9),
        ),
    }
    _arch_defaults = dict(
        focus_depths=(4, 2),
        focus_heads=(4, 8),
        small_kernel=5,
        ffn_ratio=4,
        focus_ffn_ratio=3,
    )
    _decays_by_threes = (2, 4)
    # transition to each part, and its blocks, in the order of computation
    _parts = (
        ('patch_embed1', 'blocks1'),
        ('patch_embed2', 'blocks2'),
        ('patch_embed3', 'blocks3'),
        ('patch_embed4', 'blocks4'),
        ('high_level_proj', 'sub_blocks3'),
        ('patch_embedx', 'sub_blocks4'),
    )

    def __init__(
        self,
        arch: Union[str, dict] = 'T',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        overview_output: bool = False,
        drop_path_rate: float = 0.0,
        norm_cfg: dict = dict(type='BN'),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        deploy: bool = False,
        init_cfg: Optional[Union[dict, list]] = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(
                type='TruncNormal',
                layer=['Conv2d', 'DepthwiseConv2d'],
                std=0.02,
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
        if overview_output and 3 not in self.out_indices:
            raise ValueError(
                'overview_output adds to the map of index 3, so out_indices '
                f'must contain 3, got {out_indices}.'
            )
        self.overview_output = overview_output
        channels = self.arch['channels']
        context = channels[3] // CONTEXT_RATIO
        self.out_channels = tuple(
            width + context if i >= 2 else width
            for i, width in enumerate(channels)
        )
        self._built = self._parts[: (1, 2, 5, 6)[max(self.out_indices)]]
        leads = (
            lambda: _stem(in_channels, channels[0], norm_cfg),
            *(
                lambda i=i: _downsample(channels[i], channels[i + 1], norm_cfg)
                for i in range(3)
            ),
            lambda: nn.Conv2d(channels[3], context, 1),
            lambda: ContextDownsample(channels[2:], context, norm_cfg),
        )
        drop_paths = iter(self.drop_path_rates)
        for i, (lead, blocks) in enumerate(self._built):
            self.add_module(lead, leads[i]())
            depth = self._part_depths()[i]
            build = self._base_block if i < 4 else self._focus_block
            self.add_module(
                blocks,
                nn.ModuleList(
                    build(i, j, next(drop_paths), norm_cfg, deploy)
                    for j in range(depth)
                ),
            )
        normed = set(self.out_indices)
        if len(self._built) > 2:
            normed.add(1)  # its norm is part of the path to the base net
        norms = {
            str(i): LayerNorm2d(self.out_channels[i]) for i in sorted(normed)
        }
        self.h_proj: Optional[nn.Module] = None
        if overview_output:
            norms['4'] = LayerNorm2d(channels[3])
            self.h_proj = nn.Sequential(
                nn.Conv2d(channels[3], self.out_channels[3], 1),
                LayerScale2d(self.out_channels[3], 1e-5),
            )
        self.extra_norm = nn.ModuleDict(norms)
        self._freeze_stages()

    @classmethod
    def _parse_arch(cls, arch: Union[str, dict]) -> dict:
        arch = super()._parse_arch(arch)
        if len(arch['depths']) != 4:
            raise ValueError(
                f'depths must have 4 stages, got {arch["depths"]}.'
            )
        for key in ('focus_depths', 'focus_heads'):
            pair = arch[key]
            if isinstance(pair, int) or len(pair) != 2 or min(pair) < 1:
                raise ValueError(
                    f'{key} must be 2 numbers of 1 or more, got {pair}.'
                )
        size = arch['small_kernel']
        if size < 1 or size % 2 == 0:
            raise ValueError(
                f'small_kernel must be odd and positive, got {size}.'
            )
        if arch['channels'][3] < CONTEXT_RATIO:
            raise ValueError(
                f'channels must end with {CONTEXT_RATIO} or more, got '
                f'{arch["channels"]}.'
            )
        return arch

    def _part_depths(self) -> Sequence[int]:
        return *self.arch['depths'], *self.arch['focus_depths']

    def _base_block(
        self, part: int, _: int, drop_path: float, norm_cfg: dict, deploy: bool
    ) -> RepConvBlock:
        return RepConvBlock(
            self.arch['channels'][part],
            self.arch['kernel_sizes'][part],
            self.arch['ffn_ratio'],
            drop_path,
            part >= 2,
            norm_cfg,
            deploy,
        )

    def _focus_block(
        self,
        part: int,
        index: int,
        drop_path: float,
        norm_cfg: dict,
        deploy: bool,
    ) -> DynamicConvBlock:
        channels = self.arch['channels']
        return DynamicConvBlock(
            channels[part - 2],
            channels[3] // CONTEXT_RATIO,
            self.arch['kernel_sizes'][part - 2],
            self.arch['small_kernel'],
            2 * self.arch['focus_heads'][part - 4],
            self.arch['focus_ffn_ratio'],
            drop_path,
            True,
            (part, index) == (4, 0),
            norm_cfg,
            deploy,
        )

    def _run(self, part: int, x: Tensor, *overview: Tensor) -> Tensor:
        """The blocks of a part."""
        for block in self.get_submodule(self._parts[part][1]):
            x = checkpoint_forward(block, x, self.with_cp, *overview)
        return x

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images, shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: A map (N, C_i, H_i, W_i) for each of
            ``out_indices``; C_i are ``out_channels``, and H_i is H / 4, 8, 16
            or 32, rounded up.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        x = self._run(0, self.patch_embed1(x))
        outs = [self._norm(0, x)]
        if len(self._built) > 1:
            outs.append(self._norm(1, self._run(1, self.patch_embed2(x))))
        if len(self._built) > 2:
            base = self._run(2, self.patch_embed3(outs[1]))
            seen = self._run(3, self.patch_embed4(base))
            overview = self.high_level_proj(seen)
            wide = F.interpolate(
                overview,
                size=base.shape[2:],
                mode='bilinear',
                align_corners=False,
            )
            x = self._run(4, torch.cat([base, wide], 1), wide)
            outs.append(self._norm(2, x))
        if len(self._built) > 5:
            x = self._run(5, self.patch_embedx(x), overview)
            outs.append(self._norm(3, x))
        if self.h_proj is not None:
            outs[3] = outs[3] + self.h_proj(self._norm(4, seen))
        return tuple(outs[i] for i in self.out_indices)

    def _norm(self, index: int, x: Tensor) -> Tensor:
        """The norm of an output, if it is built."""
        name = str(index)
        return self.extra_norm[name](x) if name in self.extra_norm else x

    def _locate(self, name: str) -> Optional[Tuple[int, int]]:
        first, second, *_ = name.split('.')
        for i, (lead, blocks) in enumerate(self._parts):
            if first == lead:
                return i, -1
            if first == blocks:
                return i, int(second)
        return None

    def _frozen_modules(self, num_stages: int) -> Sequence[nn.Module]:
        names = [self._parts[0][0]]
        for part in self._built[:num_stages]:
            names += part
        return [self.get_submodule(name) for name in names]

    def switch_to_deploy(self) -> None:
        """Merge the branches of every large kernel into it, in place."""
        for module in self.modules():
            if isinstance(module, DilatedReparamBlock):
                module.switch_to_deploy()
        self.deploy = True
