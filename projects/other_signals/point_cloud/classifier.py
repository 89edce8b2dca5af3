"""A classifier of point clouds, like that of UniRepLKNet's authors."""

from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from mmrep.registry import MODELS

from ..classifier import SignalClassifier
from .projection import CloudProjection


@MODELS.register_module()
class PointCloudClassifier(SignalClassifier):
    """Projections of a cloud, a backbone, and a linear layer on all views.

    Source: Point/models/p2p_adaptor_lk.py and layers/head.py of
    AILab-CVC/UniRepLKNet@b5677d8.

    Args:
        projection (dict): Arguments of :class:`CloudProjection`.
        backbone (dict): Config of the backbone, three channels in.
        in_channels (int): Channels of its last map.
        num_classes (int): Number of classes.
        label_smoothing (float): Share of the target for all other classes.
            Defaults to 0.2.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        projection: dict,
        backbone: dict,
        in_channels: int,
        num_classes: int,
        label_smoothing: float = 0.2,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.num_classes = num_classes
        self.projection = CloudProjection(**projection)
        self.backbone = MODELS.build(backbone)
        channels = in_channels * self.projection.num_views
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, num_classes)
        # in PyTorch the class itself shares too
        self.smoothing = label_smoothing * num_classes / (num_classes - 1)

    def scores(self, inputs: dict) -> Tensor:
        """Scores (B, num_classes) of clouds with the same number of points.

        Args:
            inputs (dict): ``points`` and ``turned``, both (B, N, 3); see
                :class:`CloudProjection`.
        """
        images = self.projection(inputs['points'], inputs['turned'])
        pooled = self.backbone(images)[-1].mean((2, 3))
        # the views of a cloud side by side
        views = pooled.reshape(len(inputs['points']), -1)
        return self.fc(self.norm(views))

    def loss(self, inputs: dict, data_samples: dict) -> Tensor:
        """Cross entropy with a share of the target for other classes."""
        return F.cross_entropy(
            self.scores(inputs),
            data_samples['gt_label'],
            label_smoothing=self.smoothing,
        )
