"""The initializer for ``init_cfg=dict(type='Pretrained', ...)``."""

import os.path as osp
from typing import Optional

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from mmrep.checkpoint.convert import Match, match, recognise, weights_of
from mmrep.checkpoint.loading import CheckpointError, read
from mmrep.registry import WEIGHT_INITIALIZERS


def fit_pretrained(
    backbone: nn.Module, filename: str, prefix: Optional[str] = None
) -> Match:
    """Read a released file and compare it with a backbone.

    Args:
        backbone (nn.Module): The backbone.
        filename (str): Path or URL of a file in any known layout.
        prefix (str, optional): Look only below this prefix. Defaults to
            None.

    Returns:
        Match: The tensors to load; nothing is missing or unexpected.

    Raises:
        CheckpointError: If the file is missing, cannot be read, or does not
            fit.
    """
    if '://' not in filename and not osp.isfile(osp.expanduser(filename)):
        raise CheckpointError(
            f'the pretrained weights {filename!r} do not exist; '
            'docs/model_zoo.md#weights says where to get them; '
            'model.backbone.init_cfg=None trains from scratch.'
        )
    state = weights_of(read(filename))
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        below = {
            key[len(prefix) :]: value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        if not below:
            raise CheckpointError(
                f'{filename} must have parameters under the prefix '
                f'{prefix!r}, but has none (it begins with '
                f'{next(iter(state))!r}); set model.backbone.init_cfg.prefix '
                'to None.'
            )
        state = below
    try:
        result = match(recognise(state), backbone)
    except CheckpointError as error:
        raise CheckpointError(f'{filename}: {error}') from error
    if result.problems:
        raise CheckpointError(
            f'{filename} does not fit the backbone of the config: '
            f'{result.problems}.'
        )
    return result


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class ReleasedInit:
    """Start a backbone from a released file.

    Args:
        checkpoint (str): Path or URL of a file of the authors, of
            MMPretrain, or of a segmentor or detector.
        prefix (str, optional): Look only below this prefix; not needed for
            the known layouts. Defaults to None.
        map_location (str): Where MMEngine's initializer would put the
            tensors; they are read on the CPU. Defaults to 'cpu'.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: Optional[str] = None,
        map_location: str = 'cpu',
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def __call__(self, module: nn.Module) -> None:
        """Load the file into a backbone; see :func:`fit_pretrained`."""
        result = fit_pretrained(module, self.checkpoint, self.prefix)
        module.load_state_dict(result.state, strict=False)
        print_log(
            f'pretrained weights {self.checkpoint}\n{result.report()}',
            logger='current',
        )
        if hasattr(module, '_params_init_info'):
            update_init_info(
                module, init_info=f'pretrained weights {self.checkpoint}'
            )
