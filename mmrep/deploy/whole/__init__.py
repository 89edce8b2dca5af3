"""Whole models for exporters: from a picture to the answer."""

from torch import nn

from mmrep.deploy.whole.picture import INPUTS, MASKS, WholeModel
from mmrep.errors import UsageError

__all__ = ['INPUTS', 'MASKS', 'WholeModel', 'whole_model']


def whole_model(
    model: nn.Module, input: str = 'picture', masks: str = 'pasted'
) -> WholeModel:
    """A segmentor or detector as a module that exporters accept.

    Args:
        model (nn.Module): The model in evaluation mode; it is changed in
            place.
        input (str): One of ``INPUTS``; see :class:`WholeModel`. Defaults to
            'picture'.
        masks (str): 'pasted' for masks of the picture's size, 'raw' for
            probabilities in their boxes. Defaults to 'pasted'.

    Raises:
        UsageError: If a part of the model predicts in its own way.
    """
    # by name, because MMDetection may not be installed
    kinds = {base.__name__ for base in type(model).__mro__}
    if kinds & {'EncoderDecoder'} and 'CascadeEncoderDecoder' not in kinds:
        from mmrep.deploy.whole.segmentors import WholeSegmentor

        return WholeSegmentor(model, input)
    if 'TwoStageDetector' in kinds:
        from mmrep.deploy.whole.two_stage import WholeTwoStageDetector

        return WholeTwoStageDetector(model, input, masks)
    if 'SingleStageDetector' in kinds:
        from mmrep.deploy.whole.dense import WholeDenseDetector

        return WholeDenseDetector(model, input)
    raise UsageError(
        f'a whole {type(model).__name__} cannot be exported; --part exports '
        'a part of it.'
    )
