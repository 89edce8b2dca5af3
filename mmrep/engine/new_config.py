"""Write a config for a data set, short enough to read and change."""

import re
import textwrap
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config

from mmrep.compat.configs import config_names, find_config
from mmrep.data.survey import Survey
from mmrep.errors import UsageError, counted

METHODS = ('upernet', 'fcos', 'cascade-mask-rcnn')
# Configs of a method to inherit from; the first that exists is used.
_DATA = ('ade20k', 'ade20k-640x640', 'coco', 'camvid', 'bccd', 'shapes')
# Largest pictures of the recipes, for models for a CPU and for others.
_SMALL, _DETECTION = (480, 360), (1333, 800)
# Objects below this many pixels are hard to find.
_LEAST_OBJECT = 32
# Samples that a run sees: small sets are repeated more often.
_SAMPLES = 20000
# Epochs that show whether training works.
_LOOK = 8


@dataclass
class _Plan:
    """Choices and their reasons."""

    base: str
    scale: Tuple[int, int]
    crop: int
    batch: int
    lr: float
    length: int  # epochs of a detector, iterations of a segmentor
    backbone: Optional[dict]  # if no base has it
    multiple: Optional[int]  # of the test images
    notes: List[str]


def list_models(method: str) -> Dict[str, str]:
    """The configs of a method, by the name of the model."""
    found: Dict[str, str] = {}
    for data in reversed(_DATA):
        for name in config_names():
            match = re.fullmatch(rf'{method}_([^_]+)_{data}', name)
            if match:
                found[match[1]] = name
    return dict(sorted(found.items()))


def write_config(
    data: Survey,
    model: str = 'unireplknet-t',
    method: Optional[str] = None,
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
) -> Tuple[str, List[str]]:
    """Write a config for a data set.

    Args:
        data (Survey): The data set.
        model (str): Model, as in the names of our configs. Defaults to
            'unireplknet-t'.
        method (str, optional): One of :data:`METHODS`. Defaults to None, a
            segmentor for label maps and a detector for boxes, with masks if
            all objects have one.
        epochs (int, optional): How often each picture is seen. Defaults to
            None, which depends on the number of pictures.
        batch_size (int, optional): Defaults to None, the base's batch size, or
            less for few pictures.

    Returns:
        tuple: The text of the config, and lines that say what was chosen and
            why.

    Raises:
        UsageError: If model or method do not fit.
    """
    method = _choose_method(data, method)
    base, backbone = _choose_base(method, model)
    cfg = Config.fromfile(find_config(base))
    plan = _plan(data, method, model, base, cfg, epochs, batch_size)
    plan.backbone = backbone
    own = (backbone or {}).get('backbone', cfg.model.backbone)
    plan.notes.append(_tell_weights(model, own))
    write = _segmentation if method == 'upernet' else _detection
    lines = [
        f'# {method} with {model} for {data.root.resolve().name}; written by '
        'mmrep data new-config. Chosen:',
        *(f'# - {note}' for note in plan.notes),
        f"_base_ = 'mmrep::{base}.py'",
        '',
        f'data_root = {str(data.root.resolve()) + "/"!r}',
        f'classes = {_listed([repr(n) for n in data.classes], "()")}',
        f'palette = {_listed([repr([*c]) for c in data.palette], "[]")}',
        *write(data, plan, cfg),
    ]
    return '\n'.join(lines) + '\n', plan.notes


def _choose_method(data: Survey, method: Optional[str]) -> str:
    maps = data.form == 'label maps'
    if method is None:
        if maps:
            return 'upernet'
        with_masks = data.form == 'boxes and masks'
        return 'cascade-mask-rcnn' if with_masks else 'fcos'
    if maps != (method == 'upernet'):
        todo = (
            'take upernet'
            if maps
            else 'use fcos, or draw polygons as label maps with --to masks'
        )
        raise UsageError(
            f'{method} cannot learn from {data.form}, which {data.root} has; '
            f'{todo}.'
        )
    if method == 'cascade-mask-rcnn' and data.form == 'boxes':
        raise UsageError(
            'cascade-mask-rcnn learns masks, but not all objects of '
            f'{data.root} have one; use fcos.'
        )
    return method


def _choose_base(method: str, model: str) -> Tuple[str, Optional[dict]]:
    """The config to inherit from, and the backbone if it differs."""
    models = list_models(method)
    if model in models:
        return models[model], None
    others = list_models('cascade-mask-rcnn')
    if method == 'fcos' and model in others:
        cfg = Config.fromfile(find_config(others[model]))
        backbone = cfg.model.backbone.to_dict()
        return models['replknet31b'], dict(
            backbone=dict(_delete_=True, **backbone),
            neck=dict(in_channels=list(cfg.model.neck.in_channels)),
        )
    known = [*models, *(others if method == 'fcos' else ())]
    raise UsageError(
        f'--model must be one of {", ".join(sorted(set(known)))} for {method}'
        f', got {model!r}.'
    )


def _plan(
    data: Survey,
    method: str,
    model: str,
    base: str,
    cfg: Config,
    epochs: Optional[int],
    batch_size: Optional[int],
) -> _Plan:
    count = data.counts['train']
    small = 'tiny' in model
    notes = [_tell_data(data), f'inherits from {base}, and keeps its recipe']
    base_batch = cfg.auto_scale_lr.base_batch_size
    batch = batch_size or min(cfg.train_dataloader.batch_size, max(count, 1))
    lr = float(f'{cfg.optim_wrapper.optimizer.lr * batch / base_batch:.3g}')
    if method == 'upernet':
        crop = min(cfg.crop_size)
        scale, why = _fit(data.size, (4 * crop, crop), 1)
        crop = max(32, min(crop, min(scale) // 32 * 32))
    else:
        crop = 0
        limit = _SMALL if small else _DETECTION
        least = max(1.0, _LEAST_OBJECT / max(data.objects[1], 1))
        scale, why = _fit(data.size, limit, least)
    notes.append(f'scale {scale[0]}x{scale[1]}: {why}')
    if crop:
        notes.append(f'crops of {crop}x{crop} for training, a multiple of 32')
    elif data.objects[1]:
        share = min(scale) / min(data.size)
        notes.append(
            'objects are {:.0f}, {:.0f} and {:.0f} pixels wide at that scale '
            '(the 10th, 50th and 90th percentile)'.format(
                *(o * share for o in data.objects)
            )
        )
    pretrained = bool((cfg.model.backbone.get('init_cfg') or {}).get(
        'checkpoint'
    ))  # fmt: skip
    notes.append(
        f"batch {batch}, learning rate {lr:g}: the recipe's rate for batch "
        f'{base_batch}, {cfg.optim_wrapper.optimizer.lr:g}, times '
        f'{batch}/{base_batch}'
    )
    is_default = epochs is None
    if epochs is None:
        most = 300 if not pretrained else 200
        epochs = int(min(most, max(24, _SAMPLES / count)))
    if method == 'upernet':  # by iterations
        length = steps = max(10, -(-epochs * count // batch))
    else:
        length, steps = epochs, epochs * max(1, -(-count // batch))
    notes.append(
        f'{counted(epochs, "epoch")} of {counted(count, "picture")}, '
        f'{counted(steps, "iteration")}; train longer if the loss still falls '
        'at the end'
    )
    if is_default and epochs > _LOOK:
        notes.append(
            f'on a CPU, {counted(steps, "iteration")} take hours, as each '
            f'takes seconds; --epochs {_LOOK} is enough for a first look '
            f'({steps * _LOOK // epochs} iterations)'
        )
    pipeline = cfg.get('test_pipeline') or []
    multiples = [t for t in pipeline if t['type'] == 'ResizeToMultiple']
    multiple = multiples[0].size_divisor if multiples else None
    return _Plan(base, scale, crop, batch, lr, length, None, multiple, notes)


def _tell_weights(model: str, backbone: dict) -> str:
    """Which weights the backbone starts from, and how to get them."""
    file = (backbone.get('init_cfg') or {}).get('checkpoint')
    if not file:
        return (
            'no pretrained weights, which is fine for a first look on any '
            'machine; with few pictures, a model such as unireplknet-t scores '
            'far better'
        )
    get = (
        'mmrep train downloads; without a network, download it elsewhere'
        if '://' in file
        else 'you must have; docs/model_zoo.md says where to get it'
    )
    return (
        f'{model} starts from weights in {file}, which {get}, and give your '
        'file with --cfg-options model.backbone.init_cfg.checkpoint=FILE'
    )


def _tell_data(data: Survey) -> str:
    counts = ', '.join(f'{n} {split}' for split, n in data.counts.items())
    return (
        f'{counts} pictures with {data.form} of '
        f'{counted(len(data.classes), "class")}; half are at most '
        f'{data.size[0]}x{data.size[1]}, the largest '
        f'{data.largest[0]}x{data.largest[1]}'
    )


def _fit(
    size: Tuple[int, int], limit: Tuple[int, int], wish: float
) -> Tuple[Tuple[int, int], str]:
    """Long and short side to which pictures are resized, and why.

    Args:
        size (tuple): Width and height of the pictures.
        limit (tuple): The long and the short side of the recipe.
        wish (float): How much larger the objects should be.
    """
    long, short = max(size), min(size)
    most = min(limit[0] / long, limit[1] / short)
    factor = min(most, wish)
    scale = round(long * factor), round(short * factor)
    if factor == 1:
        why = 'the size of the pictures'
    elif factor > 1:
        why = (
            f'{factor:.2g} times the size of the pictures, because their '
            'objects are small'
        )
    else:
        why = (
            f'the recipe uses up to {limit[0]}x{limit[1]}; a larger one shows '
            'more detail and takes more memory'
        )
    return scale, why


def _listed(values: List[str], brackets: str) -> str:
    """A tuple or list over several lines."""
    text = ', '.join(values) + ','
    lines = textwrap.wrap(text, 75, break_long_words=False) or ['']
    body = ''.join(f'    {line}\n' for line in lines)
    return f'{brackets[0]}\n{body}{brackets[1]}'


def _loaders(plan: _Plan, entries: Dict[str, str]) -> List[str]:
    """The three loaders; without test pictures, val is used."""
    lines = []
    for split in ('train', 'val', 'test'):
        entry = entries[split if split in entries else 'val']
        batch = f'batch_size={plan.batch}, ' if split == 'train' else ''
        lines += [
            f'{split}_dataloader = dict(',
            f'    {batch}num_workers=2, dataset=dict(',
            '        _delete_=True,',
            *(f'        {line}' for line in entry.split('\n')),
            '    )',
            ')',
        ]
    return lines


def _segmentation(data: Survey, plan: _Plan, cfg: Config) -> List[str]:
    entries = {}
    for split in data.counts:
        pipeline = 'train_pipeline' if split == 'train' else 'test_pipeline'
        entries[split] = (
            'data_prefix=dict(\n'
            f'    img_path={data.images[split]!r},\n'
            f'    seg_map_path={data.labels[split]!r},\n'
            '),\n'
            f'pipeline={pipeline},\n'
            '**own,'
        )
    to_multiple = view = ''
    if plan.multiple:
        step = f"dict(type='ResizeToMultiple', size_divisor={plan.multiple})"
        to_multiple, view = f'\n    {step},', f'\n        [{step}],'
    heads = ['    decode_head=dict(num_classes=len(classes)),']
    if cfg.model.get('auxiliary_head'):
        heads.append('    auxiliary_head=dict(num_classes=len(classes)),')
    warm = min(1500, max(2, plan.length // 10))
    steps = -(-data.counts['train'] // plan.batch)
    every = min(plan.length, max(steps, plan.length // 10))
    text = f"""
scale = {plan.scale}  # of pictures in training, validation and test
crop_size = ({plan.crop}, {plan.crop})
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),{to_multiple}
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [
            dict(
                type='Resize',
                scale=(int(scale[0] * r), int(scale[1] * r)),
                keep_ratio=True,
            )
            for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
        ],{view}
        [
            dict(type='RandomFlip', prob=0.0, direction='horizontal'),
            dict(type='RandomFlip', prob=1.0, direction='horizontal'),
        ],
        [dict(type='LoadAnnotations')],
        [dict(type='PackSegInputs')],
    ]),
]
own = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
    img_suffix={data.suffix!r},
    seg_map_suffix='.png',
)"""
    tail = f"""val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
model = dict(
    data_preprocessor=dict(size=crop_size),
{chr(10).join(heads)}
)
optim_wrapper = dict(optimizer=dict(lr={plan.lr:g}))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-3, begin=0, end={warm}, by_epoch=False
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=0.0,
        begin={warm},
        end={plan.length},
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters={plan.length}, val_interval={every})
default_hooks = dict(
    logger=dict(interval={min(50, every)}),
    checkpoint=dict(interval={every}),
)
auto_scale_lr = dict(enable=False, base_batch_size={plan.batch})"""
    return [text, *_loaders(plan, entries), tail]


def _detection(data: Survey, plan: _Plan, cfg: Config) -> List[str]:
    masks = 'roi_head' in cfg.model
    load = 'with_bbox=True' + (', with_mask=True' if masks else '')
    entries = {}
    for split in data.counts:
        more = (
            f'filter_cfg=dict(filter_empty_gt={not data.empty}, min_size=32)'
            if split == 'train'
            else 'test_mode=True'
        )
        pipeline = 'train_pipeline' if split == 'train' else 'test_pipeline'
        entries[split] = (
            f'ann_file={data.labels[split]!r},\n'
            f'data_prefix=dict(img={data.images[split] + "/"!r}),\n'
            f'pipeline={pipeline},\n'
            f'{more},\n'
            '**own,'
        )
    if data.empty:
        plan.notes.append(
            f'{counted(data.empty, "training picture")} without an object, '
            'trained as background'
        )
    most = max(100, -(-data.most * 3 // 2 // 10) * 10)
    if most > 100:
        plan.notes.append(
            f'up to {most} objects in a picture; the largest number is '
            f'{data.most}'
        )
    text = f"""
scale = {plan.scale}  # of pictures in training, validation and test
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', {load}),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(0.75, 1.25),
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', {load}),
    dict(type='PackDetInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [
            dict(
                type='Resize',
                scale=(int(scale[0] * r), int(scale[1] * r)),
                keep_ratio=True,
            )
            for r in (0.75, 1.0, 1.25)
        ],
        [
            dict(type='RandomFlip', prob=0.0),
            dict(type='RandomFlip', prob=1.0),
        ],
        [dict(type='LoadAnnotations', {load})],
        [dict(type='PackDetInputs')],
    ]),
]
own = dict(
    type='CocoDataset',
    data_root=data_root,
    metainfo=dict(classes=classes, palette=palette),
)"""
    test = 'test' if 'test' in data.counts else 'val'
    every = max(1, plan.length // 10)
    steps = -(-data.counts['train'] // plan.batch)
    warm = min(500, max(2, plan.length * steps // 10))
    tail = f"""val_evaluator = dict(
    ann_file=data_root + {data.labels['val']!r}, classwise=True
)
test_evaluator = dict(
    ann_file=data_root + {data.labels[test]!r}, classwise=True
)
{_detector(plan, masks, most)}
optim_wrapper = dict(optimizer=dict(lr={plan.lr:g}))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-3, begin=0, end={warm}, by_epoch=False
    ),
    dict(
        type='CosineAnnealingLR',
        T_max={plan.length},
        end={plan.length},
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs={plan.length}, val_interval={every})
default_hooks = dict(
    logger=dict(interval={min(50, steps)}), checkpoint=dict(interval={every})
)
auto_scale_lr = dict(enable=False, base_batch_size={plan.batch})"""
    return [text, *_loaders(plan, entries), tail]


def _detector(plan: _Plan, masks: bool, most: int) -> str:
    """The classes of all heads, and the backbone if it differs."""
    parts: List[Tuple[str, Any]] = list((plan.backbone or {}).items())
    body = ''.join(f'    {key}={_dict_text(value)},\n' for key, value in parts)
    if masks:
        return (
            '# a list is not merged: change the one of the base\n'
            'bbox_heads = _base_.model.roi_head.bbox_head\n'
            'for head in bbox_heads:\n'
            '    head.update(num_classes=len(classes))\n'
            'model = dict(\n'
            f'{body}'
            '    roi_head=dict(\n'
            '        bbox_head=bbox_heads,\n'
            '        mask_head=dict(num_classes=len(classes)),\n'
            '    ),\n'
            '    # proposals, and objects that are kept\n'
            '    train_cfg=dict(rpn_proposal=dict(nms_pre=2000, '
            f'max_per_img={max(1000, 4 * most)})),\n'
            '    test_cfg=dict(\n'
            f'        rpn=dict(nms_pre=1000, max_per_img={max(1000, 4 * most)}'
            '),\n'
            f'        rcnn=dict(max_per_img={most}),\n'
            '    ),\n'
            ')'
        )
    return (
        'model = dict(\n'
        f'{body}'
        '    bbox_head=dict(num_classes=len(classes)),\n'
        f'    test_cfg=dict(max_per_img={most}),\n'
        ')'
    )


def _dict_text(value: dict) -> str:
    lines = ''.join(f'        {k}={v!r},\n' for k, v in value.items())
    return f'dict(\n{lines}    )'
