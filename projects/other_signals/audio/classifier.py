"""A classifier of clips, trained as UniRepLKNet's authors do."""

import torch.nn.functional as F
from torch import Tensor

from mmrep.registry import MODELS

from ..classifier import MapClassifier


@MODELS.register_module()
class AudioClassifier(MapClassifier):
    """A classifier of filter banks (N, 1, bins, frames).

    Source: Audio/src/models/ast_models.py of AILab-CVC/UniRepLKNet@b5677d8.
    """

    def loss(self, inputs: Tensor, data_samples: dict) -> Tensor:
        """Binary cross entropy with ``target`` (N, num_classes), 0 to 1."""
        return F.binary_cross_entropy_with_logits(
            self.classify(inputs), data_samples['target']
        )
