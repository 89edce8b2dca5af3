"""Whole segmentors: from a picture to labels and logits of its size."""

from typing import Any, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrep.deploy.compare import Difference, compare
from mmrep.deploy.merge import check_tolerance
from mmrep.deploy.whole.picture import WholeModel
from mmrep.errors import UsageError


class WholeSegmentor(WholeModel):
    """A segmentor from the picture to the labels.

    Args:
        model (nn.Module): MMSegmentation's ``EncoderDecoder``.
        input (str): See :class:`WholeModel`. Defaults to 'picture'.

    Raises:
        UsageError: If its head decides in its own way.
    """

    names = ('labels', 'logits')

    def __init__(self, model: nn.Module, input: str = 'picture') -> None:
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead
        from mmseg.models.segmentors import EncoderDecoder
        from mmseg.models.segmentors.base import BaseSegmentor

        own = ('extract_feat', 'encode_decode', 'predict', 'inference')
        _check(model, EncoderDecoder, *own)
        _check(model, BaseSegmentor, 'postprocess_result')
        _check(model.decode_head, BaseDecodeHead, 'predict', 'predict_by_feat')
        super().__init__(model, input)
        self.head = model.decode_head

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to labels (N, H, W) and logits (N, K, H, W)."""
        height, width = image.shape[2:]
        x = self.prepare(image)
        logits = F.interpolate(
            self.head(self.neck(self.backbone(x))),
            size=x.shape[2:],
            mode='bilinear',
            align_corners=self.head.align_corners,
        )[:, :, :height, :width]
        return self.decide(logits), logits

    @property
    def decisions(self) -> Dict[str, Any]:
        """How logits become labels, and how the model was tested."""
        return dict(
            num_classes=self.head.num_classes,
            out_channels=self.head.out_channels,
            align_corners=self.head.align_corners,
            threshold=self.head.threshold,
            test_cfg=dict(self._model[0].test_cfg),
        )

    def decide(self, logits: Tensor) -> Tensor:
        """Labels (N, H, W) of logits (N, K, H, W)."""
        if logits.size(1) > 1:
            return logits.argmax(1)
        labels = logits[:, 0].sigmoid() > self.head.threshold
        return labels.to(torch.int64)

    def expected(self, image: Tensor) -> Dict[str, Any]:
        """MMSegmentation's logits for an input."""
        (model,) = self._model
        height, width = image.shape[2:]
        x = image
        if self.input != 'normalised':
            data = dict(inputs=list(self.loaded(image)))
            if model.data_preprocessor.test_cfg:
                data['data_samples'] = []
            x = model.data_preprocessor(data, False)['inputs']
        else:
            x = self.prepare(image)
        metas = [dict(img_shape=x.shape[2:])] * len(x)
        logits = model.encode_decode(x, metas)[:, :, :height, :width]
        return dict(logits=logits)

    def compare(
        self,
        name: str,
        expected: Dict[str, Any],
        found: Dict[str, Tensor],
        tolerance: float,
    ) -> List[Difference]:
        """The difference of the logits; labels are those of the logits."""
        differences = compare(expected, dict(logits=found['logits']))
        check_tolerance(name, differences, tolerance)
        wrong = (self.decide(found['logits']) != found['labels']).sum().item()
        if wrong:
            raise UsageError(
                f'{wrong} labels of the {name} input do not match its logits; '
                'nothing was written.'
            )
        return differences


def _check(part: nn.Module, base: type, *methods: str) -> None:
    """Raise an error if a part overrides the prediction of its base class."""
    kind = type(part)
    for name in methods:
        if getattr(kind, name, None) is not getattr(base, name):
            raise UsageError(
                f'a whole segmentor with {kind.__name__} cannot be exported, '
                f'because of its own {name}; --part backbone exports what '
                'comes before it.'
            )
