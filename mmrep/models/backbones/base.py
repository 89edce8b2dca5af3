"""Code shared by the backbones: argument checks, freezing, depth rules."""

from typing import Any, List, Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

InitCfg = Optional[Union[dict, List[dict]]]


def _with_scope(init_cfg: Any) -> Any:
    """Make ``Pretrained`` mean the initializer of mmrep.checkpoint.

    It knows the layouts of the released files, which MMEngine's does not.
    """
    if isinstance(init_cfg, (list, tuple)):
        return [_with_scope(cfg) for cfg in init_cfg]
    if init_cfg and init_cfg.get('type') == 'Pretrained':
        return dict(init_cfg, _scope_='mmrep')
    return init_cfg


class StagedBackbone(BaseModule):
    """A backbone with a stem, stages, and transitions between the stages.

    A subclass lists its archs in ``arch_settings`` and the optional keys of an
    arch with their defaults in ``_arch_defaults``, and builds the stages. If
    its maps do not come from one stage each, it declares its parts in
    ``_part_depths``.

    Args:
        arch (str | dict): A name in ``arch_settings``, or a dict with
            ``channels``, ``depths`` and the keys in ``_required``.
        in_channels (int): Channels of the input.
        out_indices (Sequence[int]): Stages whose maps are returned.
        drop_path_rate (float): Stochastic depth of the last block.
        frozen_stages (int): Number of frozen parts, which are usually the
            stages; 0 freezes the stem, -1 nothing.
        norm_eval (bool): Keep every BN in evaluation mode.
        with_cp (bool): Recompute activations in the backward pass.
        deploy (bool): Build the deploy form.
        init_cfg (dict | list[dict], optional): Initialization config.
    """

    arch_settings: dict = {}
    _required: Tuple[str, ...] = ('channels', 'depths', 'kernel_sizes')
    _arch_defaults: dict = {}
    # parts in which three blocks are one layer of the learning-rate decay
    _decays_by_threes: Tuple[int, ...] = (2,)

    def __init__(
        self,
        arch: Union[str, dict],
        in_channels: int,
        out_indices: Sequence[int],
        drop_path_rate: float,
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
        deploy: bool,
        init_cfg: InitCfg,
    ) -> None:
        super().__init__(_with_scope(init_cfg))
        self.arch = self._parse_arch(arch)
        if in_channels < 1:
            raise ValueError(
                f'in_channels must be 1 or more, got {in_channels}.'
            )
        num_stages = len(self.arch['depths'])
        self.out_indices = tuple(out_indices)
        if not self.out_indices or not all(
            0 <= i < num_stages for i in self.out_indices
        ):
            raise ValueError(
                f'out_indices must be in 0..{num_stages - 1} and not be '
                f'empty, got {out_indices}.'
            )
        num_parts = len(self._part_depths())
        if not -1 <= frozen_stages <= num_parts:
            raise ValueError(
                f'frozen_stages must be in -1..{num_parts}, got '
                f'{frozen_stages}.'
            )
        if not 0 <= drop_path_rate < 1:
            raise ValueError(
                f'drop_path_rate must be in [0, 1), got {drop_path_rate}.'
            )
        blocks = sum(self._part_depths())
        # linear from 0 at the first block
        self.drop_path_rates = [
            drop_path_rate * i / max(blocks - 1, 1) for i in range(blocks)
        ]
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.deploy = deploy

    @classmethod
    def _parse_arch(cls, arch: Union[str, dict]) -> dict:
        """Look up a name or check a dict; return all keys."""
        if isinstance(arch, str):
            if arch not in cls.arch_settings:
                raise ValueError(
                    f'arch must be one of '
                    f'{sorted(cls.arch_settings)} or a dict, '
                    f'got {arch!r}.'
                )
            return {**cls._arch_defaults, **cls.arch_settings[arch]}
        required = set(cls._required)
        allowed = required | set(cls._arch_defaults)
        if not required <= set(arch) <= allowed:
            raise ValueError(
                f'arch must have the keys {sorted(required)} and '
                f'may have {sorted(cls._arch_defaults)}, got '
                f'{sorted(arch)}.'
            )
        if (
            not all(isinstance(arch[key], Sequence) for key in required)
            or len({len(arch[key]) for key in required}) != 1
        ):
            raise ValueError(
                f'{", ".join(cls._required)} must each have a value per '
                f'stage, got {dict(arch)}.'
            )
        arch = {**cls._arch_defaults, **arch}
        # the stems halve the first number of channels
        for key, least in (('channels', 2), ('depths', 1)):
            if not all(isinstance(n, int) and n >= least for n in arch[key]):
                raise ValueError(
                    f'{key} must be whole numbers of {least} or more, got '
                    f'{arch[key]}.'
                )
        for key in arch:
            if (
                key.endswith('_ratio')
                and arch[key] * min(arch['channels']) < 1
            ):
                raise ValueError(
                    f'{key} times channels must be 1 or more, got {arch[key]} '
                    f'and {arch["channels"]}.'
                )
        return arch

    def _part_depths(self) -> Sequence[int]:
        """Number of blocks of each part, in the order of computation."""
        return self.arch['depths']

    def _locate(self, name: str) -> Optional[Tuple[int, int]]:
        """Part and block of a parameter.

        The block is -1 for the transition to a part, which is the stem for
        part 0. The result is None for what follows the stages, such as norms
        of the outputs.
        """
        raise NotImplementedError

    def get_layer_depth(
        self,
        param_name: str,
        prefix: str = '',
        num_layers: Optional[int] = None,
    ) -> Tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay.

        The rule is that of ConvNeXt and UniRepLKNet: the stem is layer 0;
        every stage is one layer together with its transition, except that
        every three blocks of stage 2 are one; the rest, including norms of the
        outputs and heads, comes last.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): Prefix of the backbone's names in that model.
                Defaults to ''.
            num_layers (int, optional): Number of layers to count in the
                stages; the last stage is the last of them. Defaults to None,
                the actual number.

        Returns:
            tuple[int, int]: The depth and the number of depths.
        """
        depths = self._part_depths()
        firsts = [1]
        for i, depth in enumerate(depths):
            layers = -(-depth // 3) if i in self._decays_by_threes else 1
            firsts.append(firsts[i] + layers)
        own = firsts.pop() - 1
        if num_layers is None:
            num_layers = own
        elif num_layers < own:
            raise ValueError(
                f'num_layers must be at least {own} for this backbone, '
                f'got {num_layers}.'
            )
        num_depths = num_layers + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        place = self._locate(param_name[len(prefix) :])
        if place is None:
            return num_depths - 1, num_depths
        part, block = place
        if (part, block) == (0, -1):
            return 0, num_depths
        depth = firsts[part]
        if part in self._decays_by_threes:
            depth += max(block, 0) // 3
        if part == len(depths) - 1:
            depth += num_layers - own
        return depth, num_depths

    def _frozen_modules(self, num_stages: int) -> Sequence[nn.Module]:
        """The stem, the first parts, and the transitions between them."""
        raise NotImplementedError

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in self._frozen_modules(self.frozen_stages):
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'StagedBackbone':
        """Set the mode, except for frozen stages and ``norm_eval``."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
