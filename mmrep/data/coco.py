"""Checks of annotation files in COCO's form, before a run starts.

MMDetection drops what does not fit: categories of another name, boxes of
unknown images, instances without masks. A run then trains on nothing, or on
exchanged classes, and says nothing. What is found here is told in one line.
"""

import json
import os
import os.path as osp
import re
import warnings
from typing import Any, Dict, List, Optional, Sequence

from mmengine.config import Config

from mmrep.data.datasets import dataset_class, declared_meta
from mmrep.errors import UsageError

_LISTS = ('images', 'annotations', 'categories')
_KEYS = dict(
    images=('id', 'file_name', 'width', 'height'),
    annotations=('image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)

# An RPN's classes are not those of the data set.
_HEAD = re.compile(r'(bbox|mask)_head(\.\d+)?$')


def get_coco_class(cfg: Config, dataset: Dict[str, Any]) -> Optional[type]:
    """The class of a dataset config if it reads COCO's form, else None."""
    kind = dataset_class(cfg, dataset)
    return kind if hasattr(kind, 'COCOAPI') else None


def check_coco(
    cfg: Config, key: str, dataset: Dict[str, Any], needs_boxes: bool = True
) -> None:
    """Check a data set in COCO's form against its files and the model.

    Args:
        cfg (Config): Config of the run.
        key (str): Where the dataset is in it, for messages.
        dataset (dict): Config of the dataset, whose files exist.
        needs_boxes (bool): Whether it is trained or measured on, and not
            only predicted. Defaults to True.

    Raises:
        UsageError: If the file is not in COCO's form, its categories are not
            the config's, images are missing, or it has no boxes (or, where
            they are used, masks).
    """
    kind = get_coco_class(cfg, dataset)
    if kind is None or dataset.get('backend_args') is not None:
        return
    root = dataset.get('data_root') or ''
    path = osp.join(root, dataset.get('ann_file', ''))
    if '://' in path:
        return
    content = _read(path, needs_boxes)
    classes = tuple(declared_meta(cfg, dataset).get('classes', ()))
    _check_categories(key, path, content, classes)
    _check_heads(cfg, key, classes)
    folder = osp.join(root, (dataset.get('data_prefix') or {}).get('img', ''))
    _check_images(path, folder, content)
    if needs_boxes:
        _check_instances(path, content, classes, _uses_masks(dataset))


def _read(path: str, needs_boxes: bool) -> Dict[str, List[dict]]:
    """Read an annotation file; the lists and keys that are used exist."""
    what = f'the annotation file {path} must be in COCO form'
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except OSError as error:
        raise UsageError(f'{what}, and cannot be read: {error}') from error
    except ValueError as error:  # of JSON or of UTF-8
        raise UsageError(f'{what}, and is not JSON: {error}') from error
    if not isinstance(content, dict):
        raise UsageError(
            f'{what}, an object with the lists {", ".join(_LISTS)}; got a '
            f'{type(content).__name__}.'
        )
    if not needs_boxes:
        # the files of COCO's test sets have no such list
        content.setdefault('annotations', [])
    absent = [k for k in _LISTS if not isinstance(content.get(k), list)]
    if absent:
        raise UsageError(
            f'{what}, with the lists {", ".join(_LISTS)}; it has no '
            f'{", ".join(absent)}, but {_some(content)}.'
        )
    for name, keys in _KEYS.items():
        for i, entry in enumerate(content[name]):
            if isinstance(entry, dict) and all(k in entry for k in keys):
                continue
            got = _some(entry) if isinstance(entry, dict) else repr(entry)
            raise UsageError(
                f'{what}; {name}[{i}] must have {", ".join(keys)}, got {got}.'
            )
    for i, entry in enumerate(content['annotations']):
        box = entry['bbox']
        if not (
            isinstance(box, list)
            and len(box) == 4
            and all(isinstance(v, (int, float)) for v in box)
        ):
            raise UsageError(
                f'{what}; annotations[{i}].bbox must be four numbers, x, y, '
                f'width and height, got {box!r}.'
            )
    return content


def _check_categories(
    key: str, path: str, content: Dict[str, List[dict]], classes: Sequence[str]
) -> None:
    names = [category['name'] for category in content['categories']]
    # MMDetection numbers the classes in the file's order
    common = [name for name in names if name in classes]
    if common != list(classes):
        if sorted(common) == sorted(classes):
            why = 'the same classes stand in another order'
        else:
            why = 'they differ'
        raise UsageError(
            f'the classes of the config and of the annotation file must be '
            f'the same, and {why}: {key} has {_some(classes)}; {path} has '
            f"{_some(names)}. Set metainfo=dict(classes=...) to the file's "
            'and num_classes in the heads.'
        )
    left = [name for name in names if name not in classes]
    if left:
        warnings.warn(
            f'{key} leaves out {_some(left)} of the annotation file {path}; '
            'their boxes count as background.',
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
                    f'{key}, {len(classes)} ({_some(classes)}), got {count}.'
                )
            pending += [(f'{name}.{k}', v) for k, v in part.items()]
        elif isinstance(part, (list, tuple)):
            pending += [(f'{name}.{i}', v) for i, v in enumerate(part)]


def _check_images(
    path: str, folder: str, content: Dict[str, List[dict]]
) -> None:
    """One listing a folder, which is quick where one query a file is not."""
    if not content['images']:
        raise UsageError(f'the annotation file {path} must list images.')
    listings: Dict[str, set] = {}
    missing = []
    for image in content['images']:
        parent, name = osp.split(osp.join(folder, image['file_name']))
        if parent not in listings:
            exists = osp.isdir(parent)
            listings[parent] = set(os.listdir(parent)) if exists else set()
        if name not in listings[parent]:
            missing.append(osp.join(parent, name))
    if missing:
        count, total = len(missing), len(content['images'])
        share = 'all' if count == total else f'{count} of'
        raise UsageError(
            f'the images that {path} lists must exist, and {share} {total} '
            f'are missing, e.g. {missing[0]}; check data_prefix, or remove '
            'their entries.'
        )


def _check_instances(
    path: str,
    content: Dict[str, List[dict]],
    classes: Sequence[str],
    masks: bool,
) -> None:
    images = {image['id'] for image in content['images']}
    categories = {
        c['id'] for c in content['categories'] if c['name'] in classes
    }
    usable = [
        entry
        for entry in content['annotations']
        if entry['image_id'] in images
        and entry['category_id'] in categories
        and entry['area'] > 0
        and min(entry['bbox'][2:]) >= 1
        and not entry.get('ignore')
        and not entry.get('iscrowd')
    ]
    if not usable:
        raise UsageError(
            f'the annotation file {path} must have boxes, and none of its '
            f'{len(content["annotations"])} annotations has a box of at least '
            f'one pixel, in one of its {len(images)} images, of one of the '
            f'classes {_some(classes)}.'
        )
    if masks and not any(entry.get('segmentation') for entry in usable):
        raise UsageError(
            f'the annotation file {path} must have masks, which the pipeline '
            "of the config loads, and all of its annotations' segmentation "
            'are empty; use a config of a detector without masks.'
        )


def _uses_masks(dataset: Dict[str, Any]) -> bool:
    return any(t.get('with_mask') for t in dataset.get('pipeline') or ())


def _some(names: Sequence[str]) -> str:
    names = [str(name) for name in names]
    more = f' and {len(names) - 6} more' if len(names) > 6 else ''
    return f'({", ".join(names[:6])}{more})'
