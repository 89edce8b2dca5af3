"""An exported segmentor that replaces MMSegmentation's."""

import copy
from types import SimpleNamespace
from typing import List

from mmengine.config import ConfigDict
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.segmentors.base import BaseSegmentor
from torch import Tensor

from mmrep.deploy.runtime.files import ExportedFile
from mmrep.errors import UsageError


class ExportedSegmentor(EncoderDecoder):
    """Predicts like the model that was exported: whole pictures or windows.

    Args:
        file (ExportedFile): The file.
        model (dict): Config of the model, for its ``data_preprocessor`` and
            ``test_cfg``.
    """

    def __init__(self, file: ExportedFile, model: dict) -> None:
        preparation = copy.deepcopy(model.get('data_preprocessor') or {})
        if file.about['input'] != 'normalised':  # the file normalises
            preparation.update(mean=None, std=None, bgr_to_rgb=False)
            preparation.pop('rgb_to_bgr', None)
        padding = preparation.pop('test_cfg', None) or {}  # and pads
        self._divisor = padding.get('size_divisor') or 1
        BaseSegmentor.__init__(self, data_preprocessor=preparation)
        self.file = file
        self.test_cfg = ConfigDict(model.get('test_cfg') or dict(mode='whole'))
        self.out_channels = file.decisions['out_channels']
        self.num_classes = file.decisions['num_classes']
        self.align_corners = file.decisions['align_corners']
        self.decode_head = SimpleNamespace(
            threshold=file.decisions['threshold']
        )

        if self.test_cfg.get('mode') == 'slide':
            self.check_windows()

    def check_windows(self) -> None:
        """Refuse windows if the file pads them, and not the whole picture.

        Raises:
            UsageError: If the model pads pictures to a divisor.
        """
        if self._divisor > 1:
            raise UsageError(
                'windows of an exported file need a model without '
                f'size_divisor, got {self._divisor}: the file pads each '
                'window, and the model the whole picture. Use the checkpoint.'
            )

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: List[dict]
    ) -> Tensor:
        """Pictures (N, C, H, W) to logits (N, K, H, W)."""
        logits = self.file.run(inputs, {'logits'})['logits']
        return logits.to(inputs.device)
