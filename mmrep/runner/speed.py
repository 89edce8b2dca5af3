"""Switches of a config that make a model faster: layout and compilation."""

from typing import Any, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmrep.errors import UsageError

SWITCHES = ('channels_last', 'compile_backbone')


def _to_channels_last(
    module: nn.Module, inputs: Tuple[Any, ...]
) -> Tuple[Any, ...]:
    return tuple(
        x.contiguous(memory_format=torch.channels_last)
        if isinstance(x, Tensor) and x.dim() == 4
        else x
        for x in inputs
    )


def use_speed_switches(cfg: Config, model: nn.Module) -> None:
    """Apply ``channels_last`` and ``compile_backbone`` of a config.

    ``channels_last=True`` stores the weights of convolutions in that layout
    and passes images to the backbone in it. ``compile_backbone`` is True or a
    dict of arguments for :func:`torch.compile`; names in the state dict do not
    change.

    Args:
        cfg (Config): Config of the run.
        model (nn.Module): A model before it is wrapped, changed in place.

    Raises:
        UsageError: If the model has no backbone or an argument is unknown.
    """
    wanted = [key for key in SWITCHES if cfg.get(key)]
    if not wanted:
        return
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, nn.Module):
        raise UsageError(
            f'{" and ".join(wanted)} needs a model with a backbone, got '
            f'{type(model).__name__}.'
        )
    if cfg.get('channels_last'):
        model.to(memory_format=torch.channels_last)
        backbone.register_forward_pre_hook(_to_channels_last)
    options = cfg.get('compile_backbone')
    if options:
        try:
            backbone.compile(**({} if options is True else options))
        except (TypeError, RuntimeError) as error:
            raise UsageError(
                'compile_backbone must be True or a dict of arguments for '
                f'torch.compile ({error}).'
            ) from error
