"""The ImageNet classifier in which backbones were pretrained."""

from typing import Any, List, Optional, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmrep.registry import MODELS


class LinearHead(nn.Module):
    """Global average pooling and a linear layer, ``fc``.

    Args:
        in_channels (int): Channels of the map.
        num_classes (int): Number of classes.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to scores (N, num_classes)."""
        return self.fc(x.mean((2, 3)))


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone and a linear head on the mean of its last map.

    With RepLKNet and ``norm_intermediate_features``, the parameter names are
    those of MMPretrain's files, which therefore load as they are.

    Args:
        backbone (dict): Config of the backbone.
        in_channels (int): Channels of its last map.
        num_classes (int): Number of classes. Defaults to 1000.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        in_channels: int,
        num_classes: int = 1000,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = LinearHead(in_channels, num_classes)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Any = None,
        mode: str = 'tensor',
    ) -> Union[Tensor, dict, List[dict]]:
        """Run on normalised images of the same size.

        Args:
            inputs (Tensor): Shape (N, 3, H, W).
            data_samples (Sequence[int], optional): Class of each image.
            mode (str): 'tensor' for scores (N, num_classes), 'predict' for a
                dict with ``scores`` and ``gt_label`` for each image, 'loss'
                for a dict of losses. Defaults to 'tensor'.
        """
        scores = self.head(self.backbone(inputs)[-1])
        if mode == 'tensor':
            return scores
        if mode == 'predict':
            return [
                dict(scores=score, gt_label=int(label))
                for score, label in zip(scores, data_samples, strict=True)
            ]
        if mode == 'loss':
            target = torch.as_tensor(data_samples, device=scores.device)
            return dict(loss=F.cross_entropy(scores, target))
        raise ValueError(
            f"mode must be 'tensor', 'predict' or 'loss', got {mode!r}."
        )
