"""The pictures for calibrating a quantization."""

import copy
from typing import Any, List

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from mmrep.data.datasets import first_dataset
from mmrep.data.images import find_truncated
from mmrep.deploy.inputs import picture_input, prepared_picture
from mmrep.errors import UsageError, one_line


def calibration_paths(cfg: Config, count: int) -> List[str]:
    """Paths of training images, evenly spaced in the data set.

    Args:
        cfg (Config): Config with a ``train_dataloader``.
        count (int): Number of images; all if there are fewer.

    Raises:
        UsageError: If there are none, or one cannot be read.
    """
    dataset = first_dataset(cfg, 'train_dataloader')
    if dataset is None:
        raise UsageError(
            'the config must define train_dataloader, on whose images the '
            'quantization is calibrated.'
        )
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    try:
        built = DATASETS.build(dict(copy.deepcopy(dataset), pipeline=[]))
        length = len(built)
        count = min(count, length)
        paths = [
            built.get_data_info(i * length // count).get('img_path')
            for i in range(count)
        ]
    except Exception as error:  # data sets differ
        text = one_line(error, kind=True)
        # how MMEngine's data sets fail if they are empty
        if not text.endswith('need at least one array to concatenate'):
            raise UsageError(
                'the calibration set, the data set of train_dataloader, '
                f'cannot be read: {text}'
            ) from error
        paths = []
    paths = [path for path in paths if path]
    if not paths:
        raise UsageError(
            'the calibration set, the data set of train_dataloader, must '
            'have images, but has none; check its data_prefix and ann_file.'
        )
    for path in paths:
        reason = find_truncated(dict(img_path=path))
        if reason:
            raise UsageError(
                f'an image of the calibration set cannot be read ({reason}); '
                'fix or remove it.'
            )
        prepared_picture(cfg, path)
    return paths


def calibration_input(cfg: Config, model: Any, path: str) -> Tensor:
    """A training image in the form in which a test passes it to a file.

    Args:
        cfg (Config): Config with a test pipeline.
        model (nn.Module): The model that represents the file.
        path (str): The image.

    Returns:
        Tensor: Shape (1, C, H, W).

    Raises:
        UsageError: If it cannot be read.
    """
    return model.file.fed(picture_input(cfg, model, path))
