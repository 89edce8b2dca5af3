"""Layer-wise learning rates: the deeper a layer, the higher its rate."""

from typing import Dict, List, Optional, Tuple

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmrep.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer whose learning rates decay from the head to the stem.

    The backbone gives the depth of a parameter with a method
    ``get_layer_depth(param_name, prefix)``, which returns it with the number
    of depths, as in MMPretrain's backbones. Depth d of n has the learning rate
    ``lr * decay_rate ** (n - 1 - d)``; parameters outside the backbone have
    ``lr``. Biases and other parameters with one dimension have no weight
    decay.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper, with
            ``optimizer``.
        paramwise_cfg (dict): ``decay_rate`` (float), and optionally
            ``num_layers`` (int), the number of layers to count in the
            backbone, if a recipe counts more than there are.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        keys = set(self.paramwise_cfg)
        if not {'decay_rate'} <= keys <= {'decay_rate', 'num_layers'}:
            raise ValueError(
                'paramwise_cfg must have the key decay_rate and may have '
                f'num_layers, got {sorted(keys)}.'
            )
        rate = self.paramwise_cfg['decay_rate']
        if not 0 < rate <= 1:
            raise ValueError(f'decay_rate must lie in (0, 1], got {rate}.')
        if self.base_lr is None:
            raise ValueError('optimizer must have an lr.')

    def add_params(
        self, params: List[dict], module: nn.Module, **kwargs
    ) -> None:
        """Put each trained parameter of a model into the group of its depth.

        Args:
            params (list[dict]): The groups, extended in place.
            module (nn.Module): The model, or its backbone alone.
            **kwargs: Passed on by MMEngine's constructor; not used here.
        """
        prefix = 'backbone.' if hasattr(module, 'backbone') else ''
        backbone = getattr(module, 'backbone', module)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                'layer decay needs a backbone with get_layer_depth(), got '
                f'{type(backbone).__name__}.'
            )
        options = {}
        if self.paramwise_cfg.get('num_layers') is not None:
            options['num_layers'] = self.paramwise_cfg['num_layers']
        groups: Dict[Tuple[int, bool], dict] = {}
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            depth, num_depths = backbone.get_layer_depth(
                name, prefix, **options
            )
            decays = param.dim() > 1 and not name.endswith('.bias')
            if (depth, decays) not in groups:
                scale = self.paramwise_cfg['decay_rate'] ** (
                    num_depths - 1 - depth
                )
                group = dict(
                    params=[],
                    lr=self.base_lr * scale,
                    lr_scale=scale,
                    group_name=f'layer_{depth}_'
                    + ('decay' if decays else 'no_decay'),
                )
                if not decays:
                    group['weight_decay'] = 0.0
                elif self.base_wd is not None:
                    group['weight_decay'] = self.base_wd
                groups[depth, decays] = group
            groups[depth, decays]['params'].append(param)
        for _, group in sorted(groups.items()):
            print_log(
                f'{group["group_name"]}: {len(group["params"])} parameters, '
                f'lr={group["lr"]:.4g}',
                logger='current',
            )
            params.append(group)
