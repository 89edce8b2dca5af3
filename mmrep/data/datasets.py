"""The data sets in a config, without wrappers, and their classes."""

from typing import Any, Dict, Iterator, Optional, Tuple

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from mmrep.checkpoint import dataset_meta_of
from mmrep.errors import UsageError, one_line

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def inner_datasets(cfg: Config, loader: str) -> Iterator[Tuple[str, dict]]:
    """The data sets of a loader, without wrappers.

    Args:
        cfg (Config): A config.
        loader (str): One of :data:`LOADERS`; it may be missing.

    Yields:
        tuple[str, dict]: Place and config of each data set, in the order of
            the config.
    """
    pending = [(f'{loader}.dataset', (cfg.get(loader) or {}).get('dataset'))]
    while pending:
        key, dataset = pending.pop()
        if isinstance(dataset, (list, tuple)):
            parts = [(f'{key}.{i}', part) for i, part in enumerate(dataset)]
            pending.extend(reversed(parts))
        elif isinstance(dataset, dict):
            for inner in ('dataset', 'datasets'):
                if inner in dataset:
                    pending.append((f'{key}.{inner}', dataset[inner]))
                    break
            else:
                yield key, dataset


def first_dataset(cfg: Config, loader: str) -> Optional[dict]:
    """The first of :func:`inner_datasets`, or None if there is none."""
    return next((part for _, part in inner_datasets(cfg, loader)), None)


def dataset_class(cfg: Config, dataset: Dict[str, Any]) -> Optional[type]:
    """The class of a data set's config, or None if it is not registered."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        scope = cfg.get('default_scope')
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind


def declared_meta(cfg: Config, dataset: Dict[str, Any]) -> Dict[str, Any]:
    """Meta information from a data set's class and config, in lower case.

    Raises:
        UsageError: If its classes are in a file that cannot be read.
    """
    declared = {
        **getattr(dataset_class(cfg, dataset), 'METAINFO', {}),
        **(dataset.get('metainfo') or {}),
    }
    meta = {key.lower(): value for key, value in declared.items()}
    if isinstance(meta.get('classes'), str):
        try:
            meta['classes'] = list_from_file(meta['classes'])
        except OSError as error:
            name = meta['classes']
            raise UsageError(
                'metainfo.classes must be a tuple of names, or a file with '
                f'one name per line, got {name!r} ({one_line(error)}); one '
                f'name alone is ({name!r},), with a comma.'
            ) from error
    return meta


def check_order(key: str, dataset: Any, other: str, expected: Any) -> None:
    """Check that the classes of a data set are in the expected order.

    Args:
        key (str): Key of its loader.
        dataset (Any): The data set, which may have ``metainfo``.
        other (str): What has the expected classes.
        expected (Any): Its ``metainfo``.

    Raises:
        UsageError: If the data set has the same classes in another order.
    """
    found = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    wanted = (expected or {}).get('classes') or ()
    if isinstance(found, str) or sorted(found) != sorted(wanted):
        return
    for i, (name, there) in enumerate(zip(found, wanted, strict=True)):
        if name != there:
            raise UsageError(
                f'the classes of {key}.dataset must be in the order of those '
                f'of {other}: number {i} is {there!r} there, and {name!r} in '
                'the data set.'
            )


def dataset_meta(cfg: Config, checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Names and colours of the classes.

    Args:
        cfg (Config): Config, which may have a data set.
        checkpoint (dict): A checkpoint, which takes precedence.

    Returns:
        dict: ``classes``, a tuple of names, and ``palette``, a list of tuples,
            if they are known.
    """
    found = dataset_meta_of(checkpoint)
    for loader in reversed(LOADERS):
        dataset = first_dataset(cfg, loader)
        if dataset is not None and len(found) < 2:
            declared = dict(meta=declared_meta(cfg, dataset))
            return {**dataset_meta_of(declared), **found}
    return found
