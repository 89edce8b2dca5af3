"""The first step of every exported model: the picture becomes its input."""

from typing import Any, Dict, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrep.data.heads import input_channels
from mmrep.deploy.compare import Difference
from mmrep.deploy.exportable import prepare_layers
from mmrep.deploy.inputs import random_input
from mmrep.errors import UsageError

INPUTS = ('picture', 'picture-rgb', 'float', 'float-rgb', 'normalised')
MASKS = ('pasted', 'raw')


class WholeModel(nn.Module):
    """A model from the picture to the answer, for exporters.

    Args:
        model (nn.Module): A segmentor or detector in evaluation mode; it is
            changed in place.
        input (str): 'picture' for bytes in OpenCV's channel order, which the
            config's pipeline returns; 'float' for the same numbers, 0 to 255,
            as floats; either with '-rgb' for RGB order; 'normalised' for the
            output of the model's normalisation. Defaults to 'picture'.

    Raises:
        UsageError: If the model prepares pictures in its own way.
    """

    part = 'model'
    names: Sequence[str] = ()
    stride = 32  # of the smallest map, in pixels

    def __init__(self, model: nn.Module, input: str = 'picture') -> None:
        super().__init__()
        if input not in INPUTS:
            raise ValueError(f'input must be one of {INPUTS}, got {input!r}.')
        self.input = input
        self.channels = input_channels(model)
        self.rgb = input.endswith('-rgb')
        if self.rgb and self.channels != 3:
            raise UsageError(
                f'the input {input} is for pictures with 3 channels, but the '
                f'model takes {self.channels}.'
            )
        self._set_preparation(model.data_preprocessor)
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        # not a submodule, or the graph would have it twice
        self._model = (model,)
        prepare_layers(model)
        model.requires_grad_(False)
        self.eval()

    def _set_preparation(self, known: Any) -> None:
        test = getattr(known, 'test_cfg', None) or {}
        if not hasattr(known, '_enable_normalize') or test.get('size'):
            raise UsageError(
                f'{type(known).__name__} prepares pictures in a way that '
                'cannot be exported; --part exports what follows it.'
            )
        self.swap = known._channel_conversion and self.channels == 3
        self.normalise = known._enable_normalize
        if self.normalise:
            self.register_buffer('mean', known.mean)
            self.register_buffer('std', known.std)
        # a segmentor's pads in training; here it pads as its test_cfg says
        segments = hasattr(known, 'size_divisor')
        divisor = (
            test.get('size_divisor') if segments else known.pad_size_divisor
        )
        self.divisor = divisor or 1
        self.pad_value = float(known.pad_value)

    def prepare(self, image: Tensor) -> Tensor:
        """Normalise (N, C, H, W), and pad it at the bottom and right."""
        x = image
        if self.input != 'normalised':
            x = self._normalised(image, self.swap != self.rgb)
        if self.divisor == 1:
            return x
        height, width = x.shape[2:]
        below = (self.divisor - height % self.divisor) % self.divisor
        right = (self.divisor - width % self.divisor) % self.divisor
        return F.pad(x, (0, right, 0, below), value=self.pad_value)

    def _normalised(self, picture: Tensor, swap: bool) -> Tensor:
        x = picture.float()
        if swap:
            x = x.flip(1)
        return (x - self.mean) / self.std if self.normalise else x

    def input_of(self, picture: Tensor) -> Tensor:
        """The file's input for bytes (N, C, H, W) in OpenCV's order."""
        if self.input == 'normalised':
            return self._normalised(picture, self.swap)
        x = picture.flip(1) if self.rgb else picture
        return x.float() if self.input.startswith('float') else x

    def loaded(self, image: Tensor) -> Tensor:
        """The input of the model's own preparation for a file's input."""
        return image.flip(1) if self.rgb else image

    def example(
        self, size: Tuple[int, int], batch: int = 1, seed: int = 0
    ) -> Tensor:
        """An input of this size, of noise."""
        noise = random_input(size, batch, seed, self.channels)
        if self.input == 'normalised':
            return noise
        return self.input_of((noise * 64 + 128).clamp(0, 255).to(torch.uint8))

    @property
    def decisions(self) -> Dict[str, Any]:
        """Settings of the model's decisions, for users."""
        raise NotImplementedError

    def output_names(self, image: Tensor) -> List[str]:
        """A name for each output."""
        return list(self.names)

    def expected(self, image: Tensor) -> Dict[str, Any]:
        """Outputs of the model itself for an input of a file."""
        raise NotImplementedError

    def compare(
        self,
        name: str,
        expected: Dict[str, Any],
        found: Dict[str, Tensor],
        tolerance: float,
    ) -> List[Difference]:
        """The differences of an input; raise if one is too large."""
        raise NotImplementedError
