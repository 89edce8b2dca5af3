"""Check the files of a segmentation data set before a run.

Files are looked up with one listing per folder, and a sample of the label maps
is read. Errors that affect all of them are found in seconds, not in the middle
of a run, or never.
"""

import os
import os.path as osp
import time
from typing import Any, Dict, List, Optional, Sequence, Set

import numpy as np
from torch import nn

from mmrep.data.heads import heads, num_labels
from mmrep.data.images import (
    built_datasets,
    built_transforms,
    check_bytes,
    find_colours,
)
from mmrep.data.labels import JPEG, LabelCheck
from mmrep.errors import UsageError, agreed, counted, listed, one_line, share

# How many label maps are read, and for how many seconds.
SAMPLE = 100
SECONDS = 10
# If none of this many samples can be loaded, none is expected to be.
TRIES = 8
# Data sets whose loading transforms read files.
_KNOWN = ('mmcv.', 'mmdet.', 'mmseg.')


def check_samples(
    key: str,
    model: nn.Module,
    dataset: Any,
    metrics: Sequence[Any] = (),
    skip_corrupt: bool = False,
) -> List[str]:
    """Check that a data set has its files, and classes to learn or measure.

    Args:
        key (str): The data loader, for messages.
        model (nn.Module): A segmentor.
        dataset (Dataset): One of MMSegmentation's, or a wrapper of such.
        metrics (Sequence): The metrics that are measured on it. Defaults to
            none.
        skip_corrupt (bool): Skip samples that cannot be loaded, as long as
            there are others. Defaults to False.

    Returns:
        list[str]: Notes that are not errors.

    Raises:
        UsageError: If files are missing, none of several samples can be
            loaded, or labels are not those of the heads.
    """
    main = [h for k, h in heads(model) if k.startswith('model.decode_head')]
    if not main:
        return []
    parts = [
        part
        for part in built_datasets(dataset)
        if hasattr(part, 'get_data_info') and hasattr(part, 'data_prefix')
    ]
    check = LabelCheck.of(model)
    counts = np.zeros(256, np.int64)
    sampled = total = 0
    notes = []
    for part in parts:
        infos = [part.get_data_info(i) for i in range(len(part))]
        if not infos or 'img_path' not in infos[0]:
            continue
        loaders = [
            t
            for t in built_transforms(part)
            if type(t).__name__.startswith('Load')
        ]
        reads = [t for t in loaders if type(t).__name__ == 'LoadAnnotations']
        # a user's own transforms may read something other than files
        known = all(type(t).__module__.startswith(_KNOWN) for t in loaders)
        if known:
            labels = any('Annotation' in type(t).__name__ for t in loaders)
            _check_purpose(key, infos[0], labels, metrics)
        local = known and not any(
            getattr(t, 'backend_args', None) for t in loaders
        )
        if local:
            _check_images(key, part, infos)
            if reads and not skip_corrupt:
                _check_label_maps(key, infos)
        _check_loading(key, loaders, _spread(infos, TRIES))
        if reads and local:
            total += len(infos)
            path = infos[0]['seg_map_path']
            if path.lower().endswith(JPEG):
                notes.append(
                    f'{key}: label maps such as {path} are JPEG files; JPEG '
                    'changes labels, mostly at edges, so write them as PNG.'
                )
            sample = _spread(infos, SAMPLE // len(parts) or 1)
            sampled += _count_labels(
                reads[0], sample, check, counts, skip_corrupt
            )
    if not sampled:
        return notes
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    return notes + _judge(
        key, main[-1], counts, names, sampled, total, key.startswith('train')
    )


def _spread(infos: List[dict], most: int) -> List[dict]:
    """At most this many items of a list, evenly spaced."""
    places = np.linspace(0, len(infos) - 1, min(most, len(infos)))
    return [infos[i] for i in sorted({round(p) for p in places})]


def _check_purpose(
    key: str, info: dict, reads: bool, metrics: Sequence[Any]
) -> None:
    """Check that labels exist where they are used, and only there."""
    evaluator = key.replace('_dataloader', '_evaluator')
    labelled = bool(info.get('seg_map_path'))
    way = (
        f'if you only want to predict, set {evaluator}.format_only=True, '
        'remove LoadAnnotations from test_pipeline and tta_pipeline, write '
        f'{key}.dataset.data_prefix=dict(_delete_=True, img_path=FOLDER), and '
        'pass --out'
    )
    if key.startswith('train') and not reads:
        raise UsageError(
            f'the pipeline of {key} must load the labels with '
            "dict(type='LoadAnnotations'), but does not; use the "
            'train_pipeline.'
        )
    if reads and not labelled:
        raise UsageError(
            f'the pipeline of {key} loads annotations, but its data set has '
            f'none (data_prefix.seg_map_path is not set); {way}.'
        )
    for metric in metrics:
        only = getattr(metric, 'format_only', None)
        if only is False and not (reads and labelled):
            raise UsageError(
                f'{type(metric).__name__} of {evaluator} compares with '
                f'labels, but the pipeline of {key} loads none; {way}.'
            )
        if only and getattr(metric, 'output_dir', '') is None:
            raise UsageError(
                f'{evaluator}.format_only=True measures nothing and only '
                'saves predictions; say where with --out DIR.'
            )


def _missing(paths: Sequence[str]) -> List[str]:
    """The local files in a list that do not exist."""
    listings: Dict[str, Set[str]] = {}
    missing = []
    for path in paths:
        if '://' in path:
            continue
        folder, name = osp.split(path)
        if folder not in listings:
            exists = osp.isdir(folder)
            listings[folder] = set(os.listdir(folder)) if exists else set()
        if name not in listings[folder]:
            missing.append(path)
    return missing


def _check_images(key: str, dataset: Any, infos: List[dict]) -> None:
    missing = _missing([info['img_path'] for info in infos])
    if not missing:
        return
    suffix = getattr(dataset, 'img_suffix', '')
    name = osp.basename(missing[0])
    line = name[: -len(suffix)] if suffix and name.endswith(suffix) else name
    if not line:
        hint = 'a line is blank; remove it'
    elif ' ' in line.strip() or '\t' in line:
        hint = f'a line has several names, {line!r}; keep only the image'
    elif osp.splitext(line)[1]:
        hint = (
            f'a line has a suffix, {line!r}, and img_suffix, {suffix!r}, is '
            'added; remove it from the lines'
        )
    else:
        hint = 'check data_prefix and img_suffix'
    raise UsageError(
        f'{key}: the images that {dataset.ann_file or "the data set"} lists '
        f'must exist, but {share(len(missing), len(infos), "image")} '
        f'{agreed(len(missing), "is are")} missing, e.g. {missing[0]}; {hint}.'
    )


def _check_label_maps(key: str, infos: List[dict]) -> None:
    missing = _missing([i['seg_map_path'] for i in infos])
    if not missing:
        return
    raise UsageError(
        f'{key}: each image must have a label map, but '
        f'{share(len(missing), len(infos), "label map")} '
        f'{agreed(len(missing), "is are")} missing, e.g. {missing[0]}; check '
        'data_prefix.seg_map_path and seg_map_suffix, or add the files (in '
        'training, --skip-corrupt skips such images).'
    )


def _check_loading(
    key: str, loaders: Sequence[Any], infos: Sequence[dict]
) -> None:
    """Raise an error if none of several samples can be loaded."""
    reasons = []
    sizes = []
    coloured = None
    for info in infos:
        results: Optional[dict] = dict(info)
        for loader in loaders:
            try:
                results = loader(results)
            except Exception as error:  # each library has its own
                reason = one_line(error, kind=True)
            else:
                if results is not None:
                    continue
                reason = 'it cannot be decoded'
            reasons.append(f'{type(loader).__name__} fails ({reason})')
            break
        else:
            coloured = find_colours(results)
            other = _other_size(results)
            if not coloured and not other:
                return
            sizes.append(other)
    if coloured:
        raise UsageError(f'{key}: {coloured}')
    if sizes and not reasons:
        raise UsageError(
            f'{key}: label maps must have the size of their pictures, but '
            f'{sizes[0]}, and all {len(sizes)} that were tried differ. Give '
            'the label maps of these pictures, or resize them with nearest '
            'neighbours, which keeps the numbers of the classes.'
        )
    raise UsageError(
        f'{key}: none of {len(infos)} samples that were tried can be loaded: '
        f'{reasons[0]} with {infos[0]["img_path"]}; check the loading '
        'transforms of the pipeline and the type of the files.'
    )


def _other_size(results: dict) -> str:
    """The sizes of a label map and its picture; '' if they are the same."""
    labels = results.get('gt_seg_map')
    picture = tuple(results.get('ori_shape') or ())
    if labels is None or labels.shape[:2] == picture or len(picture) != 2:
        return ''
    size = ' x '.join(map(str, labels.shape[1::-1]))
    return (
        f'{results["seg_map_path"]} is {size} and {results["img_path"]} is '
        f'{" x ".join(map(str, picture[::-1]))}'
    )


def _count_labels(
    loader: Any,
    infos: Sequence[dict],
    check: Optional[LabelCheck],
    counts: np.ndarray,
    skip_corrupt: bool,
) -> int:
    """Add the labels of files to ``counts``; return the number read."""
    end = time.monotonic() + SECONDS
    read = 0
    for info in infos:
        if time.monotonic() > end:
            break
        check_bytes(info['seg_map_path'])
        try:
            results = loader(dict(info, seg_fields=[]))
            coloured = find_colours(results)
            labels = results['gt_seg_map']
            found = np.bincount(labels.ravel(), minlength=256)
        except Exception:  # the run names such a file, or skips it
            continue
        if coloured and not skip_corrupt:
            raise UsageError(coloured)
        if labels.ndim > 2:
            continue
        counts += found[:256]
        if check is not None:
            check.check_labels(np.flatnonzero(found).tolist(), info)
        read += 1
    return read


def _judge(
    key: str,
    head: nn.Module,
    counts: np.ndarray,
    names: Sequence[str],
    sampled: int,
    total: int,
    trains: bool,
) -> List[str]:
    """Judge a data set by the labels that occur."""
    ignored = getattr(head, 'ignore_index', None)
    present = [
        i for i in range(num_labels(head)) if counts[i] and i != ignored
    ]
    whole = sampled >= total
    read = counted(sampled, 'label map') if whole else (
        f'a sample of {sampled} of {counted(total, "label map")}'
    )  # fmt: skip
    if not present or (trains and len(present) == 1 < num_labels(head)):
        found = f'only label {present[0]}' if present else 'no label'
        text = (
            f'{key}: {read} must have pixels of the classes, but there is '
            f'{found}'
        )
        if ignored is not None and 0 <= ignored < 256 and counts[ignored]:
            text += f' beside {ignored}, which is ignored'
        if present == [0] and ignored == 255 and counts[255]:
            text += '; masks of 0 and 255 must become 0 and 1'
        elif present:
            text += ': there is nothing to learn'
        else:
            text += (
                '; labels start at 0, or at 1 with reduce_zero_label=True, '
                'and masks of 0 and 255 must become 0 and 1'
            )
        if whole:
            raise UsageError(f'{text}.')
        return [f'{text}.']
    absent = [i for i in range(num_labels(head)) if not counts[i]]
    absent = [i for i in absent if i != ignored]
    if not trains or not absent:
        return []
    labels = (f'{i} ({names[i]})' if i < len(names) else i for i in absent)
    return [
        f'{key}: no pixel of label {listed(labels, 6)} in {read}; '
        + ('they are not learned.' if whole else 'rare or missing.')
    ]
