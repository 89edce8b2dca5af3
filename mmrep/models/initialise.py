"""Random initialisation of a model."""

import logging

from mmengine.logging import MMLogger
from torch import nn


def initialise(model: nn.Module) -> None:
    """Initialise each layer at random, without a log line for each."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
