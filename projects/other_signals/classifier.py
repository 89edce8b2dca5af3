"""Classifiers of a signal that is laid out as maps."""

from typing import Any, List, Optional, Union

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmrep.registry import MODELS


class SignalClassifier(BaseModel):
    """Scores, losses and predictions of signals, each of one class.

    Subclasses have ``scores``, ``loss`` and ``num_classes``, which is compared
    with the data sets before a run.
    """

    def scores(self, inputs: Any) -> Tensor:
        """Scores (N, num_classes) of a batch."""
        raise NotImplementedError

    def loss(self, inputs: Any, data_samples: dict) -> Tensor:
        """Loss of a batch."""
        raise NotImplementedError

    def forward(
        self,
        inputs: Any,
        data_samples: Optional[dict] = None,
        mode: str = 'tensor',
    ) -> Union[Tensor, dict, List[dict]]:
        """Run on a batch.

        Args:
            inputs (Tensor | dict): Inputs packed by the data set's pipeline.
            data_samples (dict, optional): ``gt_label``, the class of each
                sample (N, ), and anything that the loss needs.
            mode (str): 'tensor' for scores (N, num_classes), 'predict' for a
                dict with ``scores`` and ``gt_label`` for each sample, 'loss'
                for a dict of losses. Defaults to 'tensor'.
        """
        if mode == 'tensor':
            return self.scores(inputs)
        if mode == 'predict':
            return [
                dict(scores=scores, gt_label=int(label))
                for scores, label in zip(
                    self.scores(inputs), data_samples['gt_label'], strict=True
                )
            ]
        if mode == 'loss':
            return dict(loss=self.loss(inputs, data_samples))
        raise ValueError(
            f"mode must be 'tensor', 'predict' or 'loss', got {mode!r}."
        )


class MapClassifier(SignalClassifier):
    """A backbone, the mean of its last map, a norm and a linear layer.

    This is the order of UniRepLKNet's own classifier; the backbone's norm of
    its last map, before the mean, is omitted. Subclasses have a ``loss``, and
    may turn their inputs into maps.

    Args:
        backbone (dict): Config of the backbone.
        in_channels (int): Channels of its last map.
        num_classes (int): Number of classes.
        data_preprocessor (dict, optional): Config of the preprocessor.
            Defaults to None.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        in_channels: int,
        num_classes: int,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.num_classes = num_classes
        last = self.backbone.out_indices[-1]
        setattr(self.backbone, f'norm{last}', nn.Identity())
        self.norm = nn.LayerNorm(in_channels, eps=1e-6)
        self.fc = nn.Linear(in_channels, num_classes)

    def classify(self, maps: Tensor) -> Tensor:
        """Map (N, C, H, W) to logits (N, num_classes)."""
        return self.fc(self.norm(self.backbone(maps)[-1].mean((2, 3))))

    def scores(self, inputs: Tensor) -> Tensor:
        """Scores (N, num_classes) of a batch of maps."""
        return self.classify(inputs)
