"""The random start of a model."""

import logging

from mmengine.logging import MMLogger
from torch import nn


def initialise(model: nn.Module) -> None:
    """Have each layer take its random start, without a line for each."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
