"""Recognise pipelines used for the wrong purpose from a config."""

from typing import Any, Iterator, Tuple

from mmengine.config import Config

from mmrep.data.datasets import inner_datasets
from mmrep.errors import UsageError
from mmrep.registry import type_name

# Transforms that change pictures at random, besides those named Random...
_AUGMENTATIONS = (
    'CachedMixUp', 'CachedMosaic', 'CutOut', 'MinIoURandomCrop', 'MixUp',
    'Mosaic', 'PhotoMetricDistortion', 'YOLOXHSVRandomAug',
)  # fmt: skip


def check_test_pipelines(cfg: Config, loader: str) -> None:
    """Check that validation or test does not change pictures at random.

    A prediction is compared with the labels of the whole picture. It would
    show another part of it, or its mirror image, and the score would be wrong.

    Args:
        cfg (Config): Config of the run.
        loader (str): ``val_dataloader`` or ``test_dataloader``.

    Raises:
        UsageError: Names the transform.
    """
    for key, dataset in inner_datasets(cfg, loader):
        for i, step in _steps(dataset):
            kind = type_name(step).rpartition('.')[2]
            by_chance = kind.startswith('Random') or kind in _AUGMENTATIONS
            if by_chance and step.get('prob', 1) != 0:
                raise UsageError(
                    f'{key}.pipeline.{i} is {kind}, which is for training: it '
                    'would change the pictures that are predicted, so scores '
                    'would be wrong; use the test_pipeline.'
                )


def gives_instances(cfg: Config, loader: str) -> bool:
    """Whether samples have the ground truth for a metric without a file."""
    return all(
        any('instances' in step.get('meta_keys', ()) for _, step in steps)
        for steps in (
            list(_steps(dataset)) for _, dataset in inner_datasets(cfg, loader)
        )
    )


def _steps(dataset: dict) -> Iterator[Tuple[int, Any]]:
    for i, step in enumerate(dataset.get('pipeline') or ()):
        if isinstance(step, dict):
            yield i, step
