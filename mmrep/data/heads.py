"""Check that a segmentor's heads, data set and metrics fit together.

They are set in many places, which MMSegmentation does not compare: a head with
too few classes ends in an index error (on a GPU, in an assertion that kills
the process), and a metric that ignores a different label from the heads
silently gives too low a score.
"""

import warnings
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from torch import nn

from mmrep.data.images import built_datasets, built_transforms
from mmrep.errors import UsageError, counted, listed

# They make their own labels: edges, depths.
_OWN_LABELS = ('STDCHead', 'VPDDepthHead')
# Label maps are read as bytes, and 255 is ignored.
MAX_CLASSES = 255


def heads(model: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """The heads of a segmentor that learn classes, by config key."""
    for name in ('decode_head', 'auxiliary_head'):
        found = getattr(model, name, None)
        stages = isinstance(found, nn.ModuleList)  # cascades, several heads
        for i, head in enumerate(found if stages else [found]):
            own = type(head).__name__ in _OWN_LABELS
            if isinstance(getattr(head, 'num_classes', None), int) and not own:
                yield f'model.{name}.{i}' if stages else f'model.{name}', head


def num_labels(head: nn.Module) -> int:
    """Number of labels that a head learns; a single output learns two."""
    single = getattr(head, 'out_channels', None) == 1
    return max(head.num_classes, 2) if single else head.num_classes


def _ignore_index(head: nn.Module) -> Optional[int]:
    return getattr(head, 'ignore_index', None)


def input_channels(model: nn.Module) -> int:
    """Channels of the image, as the first convolution takes them."""
    for module in model.modules():
        if type(module).__name__ == 'Focus':  # YOLOX stacks 2 x 2 pixels
            return input_channels(module.conv) // 4
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return 3


def check_model(model: nn.Module) -> None:
    """Check that a segmentor's heads can learn and that it can predict.

    Raises:
        UsageError: If heads differ in classes or in the label they ignore, a
            loss does not fit its head, or ``test_cfg`` lacks the size of
            windows.
    """
    check_maps(model)
    found = dict(heads(model))
    for key, head in found.items():
        _check_equal(found, key, 'num_classes', num_labels)
        _check_equal(found, key, 'ignore_index', _ignore_index)
        losses = getattr(head, 'loss_decode', ())
        several = isinstance(losses, nn.ModuleList)
        for i, loss in enumerate(losses if several else [losses]):
            where = (
                f'{key}.loss_decode.{i}' if several else f'{key}.loss_decode'
            )
            if isinstance(loss, nn.Module):
                _check_loss(where, loss, head)
    test_cfg = getattr(model, 'test_cfg', {})
    if test_cfg is None:
        raise UsageError(
            "model.test_cfg must be set, e.g. to dict(mode='whole'), but is "
            'None.'
        )
    mode = test_cfg.get('mode', 'whole')
    if mode not in ('slide', 'whole'):
        raise UsageError(
            f"model.test_cfg.mode must be 'slide' or 'whole', got {mode!r}."
        )
    if mode == 'slide':
        _check_windows(test_cfg)


def check_maps(model: nn.Module) -> None:
    """Check that the backbone or neck has the maps that heads take.

    Raises:
        UsageError: If the backbone or the neck does not give one.
    """
    for key, head in heads(model):
        part, maps = 'backbone', getattr(model.backbone, 'out_indices', None)
        count = len(maps) if isinstance(maps, (list, tuple)) else None
        if getattr(model, 'neck', None) is not None:
            part, count = 'neck', getattr(model.neck, 'num_outs', None)
        index = getattr(head, 'in_index', None)
        places = index if isinstance(index, (list, tuple)) else [index]
        if not count or not all(isinstance(i, int) for i in places):
            continue
        if not all(-count <= i < count for i in places):
            raise UsageError(
                f'{key}.in_index must name maps of the {part}, which gives '
                f'{count}, from 0 to {count - 1}, got {index}.'
            )


def check_levels(model: nn.Module) -> None:
    """Check that a detector's head has the levels that the neck gives.

    Raises:
        UsageError: If the head has strides, or FCOS ranges of sizes, for
            another number of maps.
    """
    maps = getattr(getattr(model, 'neck', None), 'num_outs', None)
    for name in ('bbox_head', 'rpn_head'):
        head = getattr(model, name, None)
        priors = getattr(head, 'prior_generator', None)
        levels = getattr(priors, 'num_levels', None)
        ranges = getattr(head, 'regress_ranges', None)
        if levels is None:
            continue
        listed = isinstance(ranges, (list, tuple))
        if ranges is not None and not (listed and len(ranges) == levels):
            raise UsageError(
                f'model.{name}.regress_ranges must have a range for each of '
                f'{counted(levels, "stride")} (model.{name}.strides), got '
                f'{len(ranges) if listed else ranges}.'
            )
        if isinstance(maps, int) and maps != levels:
            raise UsageError(
                f'model.{name} must have a stride for each of '
                f'{counted(maps, "map")} of the neck (model.neck.num_outs), '
                f'got {levels}.'
            )


def _check_equal(
    found: Dict[str, nn.Module], key: str, what: str, get: Any
) -> None:
    """Raise an error if a head differs from the one that predicts."""
    main = [k for k in found if k.startswith('model.decode_head')][-1:]
    if not main:
        return
    ours, theirs = get(found[key]), get(found[main[0]])
    if ours != theirs:
        raise UsageError(
            f'{key}.{what} must be that of {main[0]}, {theirs}, got {ours}.'
        )


def _check_loss(key: str, loss: nn.Module, head: nn.Module) -> None:
    kind = type(loss).__name__
    outputs = getattr(head, 'out_channels', None) or head.num_classes
    # losses of PIDNet, which its head calls in its own way
    by_feat = getattr(head, 'loss_by_feat', None)
    plain = getattr(by_feat, '__qualname__', '').startswith('BaseDecodeHead')
    if plain and kind in ('OhemCrossEntropy', 'BoundaryLoss'):
        raise UsageError(
            f'{key}: {kind} is for PIDHead, got {type(head).__name__}; use '
            'CrossEntropyLoss, with sampler=dict(type="OHEMPixelSampler") in '
            'the head for hard pixels.'
        )
    if outputs == 1 and not (
        kind == 'FocalLoss'
        or (kind == 'CrossEntropyLoss' and loss.use_sigmoid)
        or (
            kind == 'LovaszLoss'
            and loss.cls_criterion.__name__ == 'lovasz_hinge'
        )
        or not type(loss).__module__.startswith('mmseg.')
    ):
        raise UsageError(
            f'a head with one output must have a sigmoid loss, but {key} is '
            f'{kind}, which cannot learn label 1; set {key} to '
            "dict(type='CrossEntropyLoss', use_sigmoid=True), or num_classes "
            'and out_channels of the heads to 2.'
        )
    weight = getattr(loss, 'class_weight', None)
    if isinstance(weight, (list, tuple)) and len(weight) != outputs:
        raise UsageError(
            f'{key}.class_weight must have a number for each of {outputs} '
            f'outputs of the head, got {len(weight)}.'
        )
    own = getattr(loss, 'ignore_index', getattr(loss, 'ignore_label', None))
    ignored = getattr(head, 'ignore_index', own)
    if isinstance(own, int) and own != ignored and own >= outputs:
        raise UsageError(
            f'{key}.ignore_index must be the ignore_index of its head, '
            f'{ignored}, got {own}.'
        )


def _check_windows(test_cfg: Dict[str, Any]) -> None:
    sizes = [test_cfg.get(key) for key in ('crop_size', 'stride')]
    pairs = [
        isinstance(size, (list, tuple))
        and len(size) == 2
        and all(isinstance(x, int) and x > 0 for x in size)
        for size in sizes
    ]
    if not all(pairs) or any(c < s for c, s in zip(*sizes, strict=True)):
        raise UsageError(
            "model.test_cfg with mode='slide' must have crop_size, the "
            'height and width of a window, and stride, the steps between '
            'windows, which must not exceed their size; got '
            f'crop_size={sizes[0]} and stride={sizes[1]}.'
        )


def check_dataset(
    key: str, model: nn.Module, dataset: Any, metrics: Sequence[Any] = ()
) -> None:
    """Check a segmentation data set against the heads and the metrics.

    Args:
        key (str): The data loader, for messages.
        model (nn.Module): A segmentor.
        dataset (Dataset): MMSegmentation's data set, or a wrapper of one.
        metrics (Sequence): Metrics computed on it. Defaults to none.

    Raises:
        UsageError: If they do not fit together.
    """
    main = [h for k, h in heads(model) if k.startswith('model.decode_head')]
    if not main:
        return
    head = main[-1]
    ignored = _ignore_index(head)
    for inner in built_datasets(dataset):
        classes = getattr(inner, 'metainfo', {}).get('classes')
        if classes:
            _check_classes(key, head, classes)
        _check_reading(key, inner, head, ignored)
    if key == 'train_dataloader':
        fill = getattr(model.data_preprocessor, 'seg_pad_val', None)
        _check_fill('model.data_preprocessor.seg_pad_val', fill, head)
    measured = [m for m in metrics if hasattr(m, 'ignore_index')]
    for metric in measured:
        if metric.ignore_index == ignored or getattr(
            metric, 'format_only', False
        ):
            continue
        text = (
            f'{key.replace("_dataloader", "_evaluator")}.ignore_index must be '
            f'that of the heads, {ignored}, got {metric.ignore_index}'
        )
        if ignored is not None and 0 <= ignored < num_labels(head):
            # a class that is measured but not trained
            warnings.warn(f'{text}.', stacklevel=2)
            continue
        raise UsageError(
            f'{text}: pixels with label {ignored} would count as wrong.'
        )


def _check_classes(key: str, head: nn.Module, classes: Sequence[str]) -> None:
    count = num_labels(head)
    if len(classes) == count:
        return
    names = listed(classes, 6)
    if getattr(head, 'out_channels', None) == 1:
        raise UsageError(
            'a head with one output distinguishes two classes, labels 0 and '
            f'1, so {key}.dataset.metainfo.classes must have two names, such '
            f"as ('background', 'object'), got {len(classes)} ({names})."
        )
    raise UsageError(
        f'num_classes of the heads must be the number of classes of {key}, '
        f'{len(classes)} ({names}), got {count}; set it in every head '
        '(model.decode_head, model.auxiliary_head).'
    )


def _check_reading(
    key: str, dataset: Any, head: nn.Module, ignored: Optional[int]
) -> None:
    """Check how a pipeline changes labels."""
    reduced = bool(getattr(dataset, 'reduce_zero_label', False))
    for transform in built_transforms(dataset):
        name = type(transform).__name__
        if name == 'LoadAnnotations':
            own = getattr(transform, 'reduce_zero_label', None)
            if own is not None and bool(own) != reduced:
                raise UsageError(
                    'reduce_zero_label must be the same in the data set and '
                    f'in its pipeline, but {key}.dataset has {reduced}, its '
                    f'LoadAnnotations {own}; set it only in the data set.'
                )
            most = MAX_CLASSES - 1 if reduced else MAX_CLASSES
            if num_labels(head) > most:
                raise UsageError(
                    f'a data set may have at most {MAX_CLASSES} classes, '
                    f'{MAX_CLASSES - 1} with reduce_zero_label, because '
                    'MMSegmentation reads label maps as bytes, where 255 '
                    f'marks a pixel without a label; got {num_labels(head)} '
                    'in the heads. Merge classes.'
                )
            label_map = getattr(dataset, 'label_map', None) or {}
            if ignored != 255 and (reduced or 255 in label_map.values()):
                why = 'reduce_zero_label' if reduced else 'a subset of classes'
                raise UsageError(
                    f'ignore_index of the heads must be 255 for {key}, where '
                    f'{why} makes pixels without a class 255; got {ignored}.'
                )
        fills = {
            'RandomCutOut': 'seg_fill_in',
            'RandomMosaic': 'seg_pad_val',
            'RandomRotate': 'seg_pad_val',
        }
        if name in fills:
            fill = getattr(transform, fills[name], None)
            _check_fill(f'{fills[name]} of {name} in {key}', fill, head)
        elif name == 'Pad' and isinstance(transform.pad_val, dict):
            fill = transform.pad_val.get('seg')
            _check_fill(f'pad_val.seg of Pad in {key}', fill, head)


def _check_fill(what: str, fill: Any, head: nn.Module) -> None:
    """Check the label of pixels that a pipeline or the model pads."""
    ignored = _ignore_index(head)
    if fill is None or fill == ignored:
        return
    if 0 <= fill < num_labels(head):
        warnings.warn(
            f'{what} is {fill}, the label of a class, so pixels that pad a '
            'picture are trained as that class. To ignore them, set it to '
            f'the ignore_index of the heads, {ignored}.',
            stacklevel=2,
        )
        return
    raise UsageError(
        f'{what} must be the ignore_index of the heads, {ignored}, got {fill}.'
    )


def check_input(key: str, model: nn.Module, sample: Dict[str, Any]) -> None:
    """Check that a sample has the channels that a segmentor takes.

    Args:
        key (str): The data loader, for messages.
        model (nn.Module): A segmentor.
        sample (dict): Output of the data set's pipeline: ``inputs``, a tensor
            (C, H, W) or a list of these.

    Raises:
        UsageError: If it does not.
    """
    inputs = sample.get('inputs') if isinstance(sample, dict) else None
    if inputs is None:  # a user's own format
        return
    first = inputs[0] if isinstance(inputs, list) else inputs
    channels, *size = first.shape
    least = getattr(model.data_preprocessor, 'size', None)
    pair = isinstance(least, (list, tuple)) and len(least) == 2
    if least is not None and not pair:
        raise UsageError(
            'model.data_preprocessor.size must be the height and the width of '
            f'pictures in training, got {least!r}.'
        )
    if key.startswith('train') and least:
        if any(s > m for s, m in zip(size, least, strict=True)):
            raise UsageError(
                'model.data_preprocessor.size must be the size of the '
                f'largest picture after the pipeline of {key}, the crop size, '
                f'got {tuple(least)} for a picture of {tuple(size)}.'
            )
    expected = input_channels(model)
    mean = getattr(model.data_preprocessor, 'mean', None)
    if channels != expected:
        raise UsageError(
            f'the pictures of {key} must have as many channels as the model '
            f'takes, {expected}, but have {channels} after the pipeline; set '
            'model.backbone.in_channels, or load them in another way '
            "(LoadImageFromFile's color_type and imdecode_backend)."
        )
    if mean is not None and len(mean) not in (1, channels):
        raise UsageError(
            f'model.data_preprocessor must have a mean and a std for each of '
            f'{channels} channels, or one for all, got {len(mean)}; if there '
            "are not 3 channels, set type='mmrep.SegDataPreProcessor'."
        )
