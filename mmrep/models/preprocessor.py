"""Normalisation of pictures with any number of channels."""

from typing import Any, Sequence

import torch
from torch import nn

from mmrep.errors import UsageError
from mmrep.registry import MODELS


@MODELS.register_module(name='SegDataPreProcessor')
def seg_data_preprocessor(
    mean: Sequence[float], std: Sequence[float], **kwargs: Any
) -> nn.Module:
    """MMSegmentation's SegDataPreProcessor, for any number of channels.

    Args:
        mean (Sequence[float]): Mean of each channel, in the order of the
            input.
        std (Sequence[float]): Standard deviation of each channel.
        **kwargs: MMSegmentation's other arguments.

    Returns:
        nn.Module: MMSegmentation's class, which by itself accepts only one or
            three.

    Raises:
        UsageError: If ``mean`` and ``std`` differ in length.
    """
    from mmseg.models import SegDataPreProcessor

    if len(mean) != len(std):
        raise UsageError(
            'data_preprocessor must have as many values in std as in mean, '
            f'{len(mean)}, got {len(std)}.'
        )
    preprocessor = SegDataPreProcessor(**kwargs)
    for name, values in (('mean', mean), ('std', std)):
        values = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
        preprocessor.register_buffer(name, values, persistent=False)
    preprocessor._enable_normalize = True
    return preprocessor
