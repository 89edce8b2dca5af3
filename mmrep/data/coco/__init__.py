"""Check data sets in COCO format against config and model, before a run.

MMDetection silently drops what does not fit: categories with another name,
boxes of unknown images, instances without masks. A run may then train on
nothing or on swapped classes. These checks report such errors in one line.
"""

import os.path as osp
import re
import warnings
from typing import Any, Dict, Optional, Sequence

from mmengine.config import Config

from mmrep.data.coco.annotations import check_annotations, check_usable
from mmrep.data.coco.file import CocoFile, check_same, some
from mmrep.data.datasets import dataset_class, declared_meta
from mmrep.errors import UsageError

# The classes of an RPN are not those of the data set.
_HEAD = re.compile(r'(bbox|mask)_head(\.\d+)?$')


def get_coco_class(cfg: Config, dataset: Dict[str, Any]) -> Optional[type]:
    """The class of a dataset config if it reads COCO format, else None."""
    kind = dataset_class(cfg, dataset)
    return kind if hasattr(kind, 'COCOAPI') else None


def check_coco(
    cfg: Config,
    key: str,
    dataset: Dict[str, Any],
    metrics: Sequence[Dict[str, Any]] = (),
    needs_boxes: bool = True,
) -> None:
    """Check a data set in COCO format against its files and the model.

    Args:
        cfg (Config): Config of the run.
        key (str): Place of the dataset in it, for messages.
        dataset (dict): Config of the dataset, whose files exist.
        metrics (Sequence[dict]): Configs of the metrics computed on it.
            Defaults to ().
        needs_boxes (bool): Whether it is used for training or scores, not only
            for predictions. Defaults to True.

    Raises:
        UsageError: If the file is not in COCO format or cannot be used, its
            categories differ from the config's, images are missing or have
            another size, it has no boxes (or no masks, if they are used), or a
            metric reads another file.
    """
    kind = get_coco_class(cfg, dataset)
    if kind is None or dataset.get('backend_args') is not None:
        return
    if not dataset.get('ann_file'):
        raise UsageError(
            f'{key}.ann_file must be a file in COCO format, but is '
            f'{dataset.get("ann_file")!r}.'
        )
    root = dataset.get('data_root') or ''
    path = osp.join(root, dataset['ann_file'])
    if '://' in path:
        return
    file = CocoFile(path, needs_boxes)
    classes = tuple(declared_meta(cfg, dataset).get('classes', ()))
    file.check_categories()
    _check_categories(key, file, classes)
    _check_heads(cfg, key, classes)
    folder = osp.join(root, (dataset.get('data_prefix') or {}).get('img', ''))
    file.check_images(folder)
    if needs_boxes:
        count = len(file.annotations)
        unused = check_annotations(file, _uses_masks(dataset, metrics))
        check_usable(file, unused, classes, count)
    for metric in metrics:
        _check_metric(file, metric, needs_boxes, _uses_masks(dataset, metrics))


def _check_categories(
    key: str, file: CocoFile, classes: Sequence[str]
) -> None:
    names = file.names()
    # MMDetection numbers the classes in the file's order
    common = [name for name in names if name in classes]
    if common != list(classes):
        if sorted(common) == sorted(classes):
            why = 'the same classes are in another order'
        else:
            why = 'they differ'
        raise UsageError(
            f'the classes of the config and of the annotation file must be '
            f'the same, and {why}: {key} has {some(classes)}; {file.path} has '
            f'{some(names)}. Set metainfo=dict(classes=...) to those of the '
            'file, and set num_classes in the heads.'
        )
    # others that no annotation has, such as Roboflow's first, do no harm
    left = file.used_names().difference(classes)
    if left:
        warnings.warn(
            f'{key} skips {some(n for n in names if n in left)} of the '
            f'annotation file {file.path}; their boxes count as background.',
            stacklevel=2,
        )


def _check_heads(cfg: Config, key: str, classes: Sequence[str]) -> None:
    pending = [('model', cfg.get('model'))]
    while pending:
        name, part = pending.pop()
        if isinstance(part, dict):
            count = part.get('num_classes')
            if _HEAD.search(name) and count not in (None, len(classes)):
                raise UsageError(
                    f'{name}.num_classes must be the number of classes of '
                    f'{key}, {len(classes)} {some(classes)}, got {count}.'
                )
            pending += [(f'{name}.{k}', v) for k, v in part.items()]
        elif isinstance(part, (list, tuple)):
            pending += [(f'{name}.{i}', v) for i, v in enumerate(part)]


def _check_metric(
    file: CocoFile, metric: Dict[str, Any], needs_boxes: bool, masks: bool
) -> None:
    """Check that a metric with its own file uses the same images."""
    path = metric.get('ann_file')
    if not path or '://' in path or not osp.isfile(path):
        return
    if osp.realpath(path) == osp.realpath(file.path):
        return
    what = str(metric.get('type'))
    other = CocoFile(path, needs_boxes)
    check_same(file, other, what)
    if not needs_boxes:
        return
    count = len(other.annotations)
    check_annotations(other, masks)
    if count != len(file.annotations):
        warnings.warn(
            f'{what} uses the {count} annotations of {path}, but '
            f'{file.path}, the file of its data set, has '
            f'{len(file.annotations)}.',
            stacklevel=2,
        )


def _uses_masks(
    dataset: Dict[str, Any], metrics: Sequence[Dict[str, Any]]
) -> bool:
    """Whether masks are used for training or scores."""
    measured = [metric.get('metric') or () for metric in metrics]
    return any(
        t.get('with_mask') for t in dataset.get('pipeline') or ()
    ) or any('segm' in ([m] if isinstance(m, str) else m) for m in measured)
