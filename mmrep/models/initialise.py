"""Random initialisation of a model, and random values for tests."""

import logging

from mmengine.logging import MMLogger
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def initialise(model: nn.Module) -> None:
    """Initialise each layer at random, without a log line for each."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def randomise(model: nn.Module) -> nn.Module:
    """Set norms, layer scales and biases to values that must not get lost.

    In a new model they are 0, 1 or close to these, so a form that forgets one
    of them gives the same result. Weights do not change.

    Args:
        model (nn.Module): Changed in place.

    Returns:
        nn.Module: The same model.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.get_buffer('running_mean'), -0.5, 0.5)
            nn.init.uniform_(module.get_buffer('running_var'), 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    for name, parameter in model.named_parameters():
        leaf = name.rpartition('.')[2]
        if leaf in ('gamma', 'beta'):
            nn.init.uniform_(parameter, -1, 1)
        elif leaf == 'bias':
            nn.init.uniform_(parameter, -0.5, 0.5)
    return model
