"""Inputs to check a model with: random maps, and pictures as in a test."""

import copy
import os.path as osp
from typing import Any, Dict, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn

from mmrep.data.datasets import first_dataset
from mmrep.errors import UsageError, one_line
from mmrep.registry import type_name


def random_input(
    size: Tuple[int, int], batch: int = 1, seed: int = 0, channels: int = 3
) -> Tensor:
    """Standard normal noise (N, C, H, W), the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, *size, generator=generator)


def picture_dataset(cfg: Config) -> dict:
    """The config's test set, whose pipeline prepares pictures.

    Raises:
        UsageError: If the config has no test pipeline.
    """
    dataset = first_dataset(cfg, 'test_dataloader')
    if dataset is None or 'pipeline' not in dataset:
        raise UsageError(
            'the config must define test_dataloader.dataset.pipeline, which '
            'says how to prepare a picture.'
        )
    return dataset


def picture_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline without the steps that read annotations.

    Raises:
        UsageError: If the config has no test pipeline.
    """
    dataset = picture_dataset(cfg)
    steps = [
        step
        for step in copy.deepcopy(dataset['pipeline'])
        if not (name := type_name(step).rpartition('.')[2]).startswith('Load')
        or name == 'LoadImageFromFile'
    ]
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    return Compose(steps)


def picture_input(cfg: Config, model: nn.Module, path: str) -> Tensor:
    """A picture in the form in which a test passes it to the network.

    Args:
        cfg (Config): Config with a test pipeline.
        model (nn.Module): The model, for its ``data_preprocessor``.
        path (str): An image file.

    Returns:
        Tensor: Shape (1, C, H, W), on the model's device.

    Raises:
        UsageError: If it is not an image, or the pipeline fails.
    """
    data = pseudo_collate([_prepared(cfg, path)])
    return model.data_preprocessor(data, False)['inputs']


def prepared_picture(cfg: Config, path: str) -> Tensor:
    """A picture after the test pipeline, before it is normalised.

    Args:
        cfg (Config): Config with a test pipeline.
        path (str): An image file.

    Returns:
        Tensor: Shape (C, H, W), bytes.

    Raises:
        UsageError: If it is not an image, or the pipeline fails.
    """
    return _prepared(cfg, path)['inputs']


def _prepared(cfg: Config, path: str) -> Dict[str, Any]:
    if not osp.isfile(path):
        raise UsageError(f'the image must be an existing file, got {path!r}.')
    data: Any = dict(img_path=path, img_id=0)
    for step in picture_pipeline(cfg).transforms:
        name = type(step).__name__
        try:
            data = step(data)
        except Exception as error:  # each library has its own
            what = (
                f'{path} is not a readable image'
                if name.startswith('Load')
                else f'the test pipeline of the config failed in {name} with '
                f'{path}'
            )
            raise UsageError(
                f'{what}: {one_line(error, kind=True)}'
            ) from error
    return data


def first_test_image(cfg: Config) -> Optional[str]:
    """Path of the first image of the config's test set, if it exists."""
    dataset = first_dataset(cfg, 'test_dataloader')
    if dataset is None:
        return None
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    dataset = dict(copy.deepcopy(dataset), pipeline=[])
    try:
        info = DATASETS.build(dataset).get_data_info(0)
    except Exception:  # absent or empty; data sets differ in this
        return None
    path = info.get('img_path')
    return path if path and osp.isfile(path) else None
