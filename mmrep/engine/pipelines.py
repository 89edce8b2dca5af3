"""Pipelines that are those of another purpose, known from a config alone."""

from typing import Any, Iterator, Tuple

from mmengine.config import Config

from mmrep.data.datasets import inner_datasets
from mmrep.errors import UsageError
from mmrep.registry import type_name

# What changes pictures by chance, beside all that is called Random...
_AUGMENTATIONS = (
    'CachedMixUp', 'CachedMosaic', 'CutOut', 'MinIoURandomCrop', 'MixUp',
    'Mosaic', 'PhotoMetricDistortion', 'YOLOXHSVRandomAug',
)  # fmt: skip


def check_test_pipelines(cfg: Config, loader: str) -> None:
    """Check that a validation or test changes no picture by chance.

    A prediction is compared with the labels of the whole picture: it would be
    of another part of it, or of its mirror image, and the score be wrong.

    Args:
        cfg (Config): Config of the run.
        loader (str): ``val_dataloader`` or ``test_dataloader``.

    Raises:
        UsageError: With the transform.
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
    """Whether samples bring the truth that a metric without file needs."""
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
