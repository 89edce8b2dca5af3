"""Checks of a run that need only its config, before it starts.

Each check raises :class:`mmrep.errors.UsageError` with the key, what must hold
there and what was given.
"""

import difflib
from numbers import Real
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Priority, get_priority

from mmrep.engine.config import _evaluators, check_folder
from mmrep.engine.outdated import check_age
from mmrep.engine.pipelines import check_test_pipelines, gives_instances
from mmrep.engine.values import (
    check_dataset_values,
    check_groups,
    check_model_values,
    note_idle_parts,
)
from mmrep.errors import UsageError
from mmrep.registry import type_name

# Numbers by their place ('*' is each item of a list): whether they must be
# whole, the minimum, and another value that means never.
_NUMBERS: Dict[str, Tuple[bool, float, Optional[int]]] = {
    'auto_scale_lr.base_batch_size': (True, 1, None),
    'default_hooks.checkpoint.interval': (True, 1, -1),
    'default_hooks.checkpoint.max_keep_ckpts': (True, 0, -1),
    'default_hooks.checkpoint.save_begin': (True, 0, None),
    'default_hooks.logger.interval': (True, 1, None),
    'default_hooks.visualization.interval': (True, 1, None),
    'log_processor.window_size': (True, 1, None),
    'optim_wrapper.accumulative_counts': (True, 1, None),
    'optim_wrapper.clip_grad.max_norm': (False, 0, None),
    'optim_wrapper.optimizer.lr': (False, 0, None),
    'optim_wrapper.optimizer.momentum': (False, 0, None),
    'optim_wrapper.optimizer.weight_decay': (False, 0, None),
    'param_scheduler.*.begin': (True, 0, None),
    'param_scheduler.*.end': (True, 1, None),
    'randomness.seed': (True, 0, None),
    'train_cfg.dynamic_intervals.*.0': (True, 0, None),
    'train_cfg.dynamic_intervals.*.1': (True, 1, None),
    'train_cfg.max_epochs': (True, 1, None),
    'train_cfg.max_iters': (True, 1, None),
    'train_cfg.val_begin': (True, 0, None),
    'train_cfg.val_interval': (True, 1, None),
}
# Those that may always be None, and those that may be without validation.
_OPTIONAL = (
    *('auto_scale_lr.base_batch_size', 'randomness.seed'),
    'default_hooks.visualization.interval',
)
_OF_VALIDATION = ('train_cfg.val_begin', 'train_cfg.val_interval')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_LAYER_DECAYS = (
    'LearningRateDecayOptimizerConstructor',
    'LayerDecayOptimizerConstructor',
)
_COCO_ITEMS = (
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000'),
)
_COCO_METRICS = ('bbox', 'segm', 'proposal', 'proposal_fast')
_IOU_NAMES = {
    'mIoU': ['mIoU', 'mAcc'],
    'mDice': ['mDice', 'mAcc'],
    'mFscore': ['mFscore', 'mPrecision', 'mRecall'],
}


def check_config(cfg: Config, mode: str) -> List[str]:
    """Check a config before anything is built from it.

    Args:
        cfg (Config): Config of the run. A data loader without workers loses
            options that PyTorch accepts only with workers.
        mode (str): 'train' or 'test'.

    Returns:
        list[str]: Notes for the user.

    Raises:
        UsageError: If the run would fail, or would not do what was asked.
    """
    notes = check_age(cfg)
    _check_words(cfg)
    _check_trios(cfg)
    _check_preprocessor(cfg)
    check_model_values(cfg)
    used = _LOADERS[:2] if mode == 'train' else _LOADERS[2:]
    for name in used:
        _check_loader(cfg, name)
        if name != 'train_dataloader':
            check_test_pipelines(cfg, name)
        metrics = _evaluators(cfg, name)
        evaluator = name.replace('_dataloader', '_evaluator')
        if not metrics and cfg.get(evaluator) is not None:
            raise UsageError(f'{evaluator} must have a metric, got none.')
        single = isinstance(cfg.get(evaluator), dict)
        for i, metric in enumerate(metrics):
            key = evaluator if single else f'{evaluator}.{i}'
            _check_metric(key, metric, cfg)
            if type_name(metric).endswith('CocoMetric'):
                _check_truth(key, metric, cfg, name)
        names = metric_names(cfg, name) or []
        twice = [x for i, x in enumerate(names) if x in names[:i]]
        if twice:
            raise UsageError(
                f'{evaluator} has metrics that give {twice[0]} twice; set '
                'another prefix in one of them.'
            )
    if mode == 'train':
        for key, limits in _NUMBERS.items():
            for place, value in _values(cfg._cfg_dict, key):
                if value is None and (
                    key in _OPTIONAL
                    or (key in _OF_VALIDATION and not cfg.get('val_cfg'))
                ):
                    continue
                _check_number(place, value, *limits)
        _check_optimizer(cfg)
        _check_counting(cfg)
        _check_monitored(cfg)
        out_dir = _values(cfg._cfg_dict, 'default_hooks.checkpoint.out_dir')
        for place, folder in out_dir:
            if folder is not None and '://' not in folder:
                check_folder(place, folder)
        _check_averages(cfg)
        _check_priorities(cfg)
        _check_compiler(cfg)
        notes += _note_order(cfg)
        notes += _note_warm_up(cfg)
        notes += note_idle_parts(cfg)
    return notes


def _note_warm_up(cfg: Config) -> List[str]:
    """Note a warm-up that ends before it begins to rise."""
    notes = []
    for place, part in _values(cfg._cfg_dict, 'param_scheduler.*'):
        if type_name(part).rpartition('.')[2] != 'LinearLR':
            continue
        length = part.get('end', float('inf')) - part.get('begin', 0)
        factor = part.get('start_factor', 1 / 3)
        if length == 1 and not part.get('convert_to_iter_based'):
            notes.append(
                f'{place} has one step, which leaves the learning rate at '
                f'{factor:g} of its target; set 2 or more steps, or remove it'
            )
    return notes


def _note_order(cfg: Config) -> List[str]:
    """Note that training sees samples in the order of their files."""
    loader = cfg.get('train_dataloader') or {}
    sampler = loader.get('sampler')
    if not sampler and not loader.get('batch_sampler'):
        what = 'train_dataloader has no sampler'
    elif (sampler or {}).get('shuffle', True) is False:
        what = 'train_dataloader.sampler.shuffle is False'
    else:
        return []
    return [
        f'{what}: each epoch takes the samples in the order of the data set, '
        'but training needs them shuffled'
    ]


def _check_compiler(cfg: Config) -> None:
    """Check the name of the compiler backend."""
    options = cfg.get('compile')
    if options is not None and not isinstance(options, (bool, dict)):
        raise UsageError(
            'compile must be True, False or a dict such as '
            f"dict(backend='inductor'), got {options!r}."
        )
    backend = options.get('backend') if isinstance(options, dict) else None
    if not isinstance(backend, str):
        return
    import torch._dynamo  # which takes seconds

    known = torch._dynamo.list_backends(exclude_tags=())
    if backend not in known:
        raise UsageError(
            f'compile.backend must be one of {", ".join(known)}, got '
            f'{backend!r}.'
        )


def _check_priorities(cfg: Config) -> None:
    """Check when hooks are called."""
    hooks = [*_values(cfg._cfg_dict, 'custom_hooks.*')]
    for name, hook in (cfg.get('default_hooks') or {}).items():
        hooks.append((f'default_hooks.{name}', hook))
    for place, hook in hooks:
        if not isinstance(hook, dict) or 'priority' not in hook:
            continue
        try:
            get_priority(hook['priority'])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f'{place}.priority must be one of '
                f'{", ".join(Priority.__members__)} or a whole number from 0 '
                f'to 100, got {hook["priority"]!r}.'
            ) from error


def _check_averages(cfg: Config) -> None:
    """Check the momentum of averaged weights."""
    for place, hook in _values(cfg._cfg_dict, 'custom_hooks.*'):
        if isinstance(hook, dict) and type_name(hook).endswith('EMAHook'):
            momentum = hook.get('momentum', 0.5)
            if not isinstance(momentum, Real) or not 0 < momentum < 1:
                raise UsageError(
                    f'{place}.momentum must be between 0 and 1, the share of '
                    f'the new weights, got {momentum!r}.'
                )


def _check_words(cfg: Config) -> None:
    """Check values that the run reads before anything is built."""
    for key in ('default_scope', 'load_from', 'work_dir'):
        if not isinstance(cfg.get(key) or '', str):
            raise UsageError(f'{key} must be a word, got {cfg[key]!r}.')
    if cfg.get('work_dir') is not None:
        check_folder('work_dir', cfg.work_dir)
    level = cfg.get('log_level', 'INFO')
    levels = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
    if level not in levels and not isinstance(level, int):
        raise UsageError(
            f'log_level must be one of {", ".join(levels)}, got {level!r}.'
        )


def _check_trios(cfg: Config) -> None:
    """Check that settings MMEngine needs together are set together."""
    for mode, third in (
        ('train', 'optim_wrapper'),
        ('val', 'val_evaluator'),
        ('test', 'test_evaluator'),
    ):
        keys = (f'{mode}_dataloader', f'{mode}_cfg', third)
        absent = [key for key in keys if cfg.get(key) is None]
        if 0 < len(absent) < len(keys):
            raise UsageError(
                f'{keys[0]}, {keys[1]} and {keys[2]} must either all be set '
                f'or all be None; {" and ".join(absent)} is None.'
            )


def _check_preprocessor(cfg: Config) -> None:
    """Check that there is a data preprocessor."""
    model = cfg.get('model') or {}
    kinds = {'mmseg': 'SegDataPreProcessor', 'mmdet': 'DetDataPreprocessor'}
    kind = kinds.get(cfg.get('default_scope') or '')
    if kind and 'backbone' in model and not model.get('data_preprocessor'):
        raise UsageError(
            "model.data_preprocessor must be set, e.g. dict(type='"
            f"{kind}', mean=[...], std=[...], bgr_to_rgb=True), but is "
            f'{model.get("data_preprocessor")}.'
        )


def _check_counting(cfg: Config) -> None:
    """Check that no part of a loop over iterations waits for epochs."""
    loop = cfg.get('train_cfg') or {}
    kind = type_name(loop).rpartition('.')[2]
    if kind != 'IterBasedTrainLoop' and (kind or loop.get('by_epoch', True)):
        return
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    parts = []
    if hook.get('interval', -1) > 0:
        parts.append(('default_hooks.checkpoint', hook, 'save'))
    for place, part in _values(cfg._cfg_dict, 'param_scheduler.*'):
        # a plateau is checked after each validation
        if isinstance(part, dict) and 'Plateau' not in type_name(part):
            parts.append((place, part, 'change the learning rate'))
    for place, part, does in parts:
        if part.get('by_epoch', True) and not part.get(
            'convert_to_iter_based'
        ):
            raise UsageError(
                f'{place}.by_epoch must be False if train_cfg counts '
                f'iterations, because otherwise it would not {does} before '
                'the end.'
            )


def _values(node: Any, key: str, place: str = '') -> Iterator[Tuple[str, Any]]:
    """The values of a config at a place, which may stand for several."""
    name, _, rest = key.partition('.')
    if isinstance(node, dict):
        found = [(name, node[name])] if name in node else []
        if name == '*':  # a single item without its list
            found = []
            if rest:
                yield from _values(node, rest, place)
            else:
                yield place, node
    elif isinstance(node, (list, tuple)):
        found = [
            (str(i), value)
            for i, value in enumerate(node)
            if name in ('*', str(i))
        ]
    else:
        return
    for part, value in found:
        inner = f'{place}.{part}'.lstrip('.')
        if rest:
            yield from _values(value, rest, inner)
        else:
            yield inner, value


def _check_number(
    key: str, value: Any, whole: bool, least: float, never: Optional[int]
) -> None:
    kind = int if whole else Real
    # float('nan') is below nothing
    if isinstance(value, kind) and not isinstance(value, bool):
        if value >= least or value == never:
            return
    expected = f'a {"whole " if whole else ""}number from {least}'
    if never is not None:
        expected += f' or {never}'
    raise UsageError(f'{key} must be {expected}, got {value!r}.')


def _check_loader(cfg: Config, name: str) -> None:
    loader = cfg.get(name)
    if loader is None:
        return
    dataset = loader.get('dataset')
    if isinstance(dataset, (list, tuple)):
        raise UsageError(
            f'{name}.dataset must be one data set, got a list of '
            f'{len(dataset)}, as versions 0.x and 2.x took it; write '
            "dataset=dict(type='ConcatDataset', datasets=[...])."
        )
    check_dataset_values(cfg, name)
    for key, least in (
        ('batch_size', 1),
        ('num_workers', 0),
        ('prefetch_factor', 1),
    ):
        # no loop of MMEngine works without batches
        unbatched = key == 'batch_size' and key in loader
        if loader.get(key) is not None or unbatched:
            _check_number(f'{name}.{key}', loader[key], True, least, None)
    if not loader.get('num_workers'):
        for key in (
            'persistent_workers',
            'prefetch_factor',
            'multiprocessing_context',
        ):
            loader.pop(key, None)


def _check_optimizer(cfg: Config) -> None:
    """Check the types of the optimizer and its schedulers."""
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
    if isinstance(optimizer, dict):
        _check_type(cfg, 'optim_wrapper.optimizer', optimizer, OPTIMIZERS)
    check_groups(cfg.get('optim_wrapper') or {})
    constructor = (cfg.get('optim_wrapper') or {}).get('constructor')
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if constructor in _LAYER_DECAYS and type_name(backbone).startswith(
        'mmrep.'
    ):
        raise UsageError(
            f'optim_wrapper.constructor, {constructor}, knows only the layers '
            f'of ConvNeXt and ViT, but the backbone is {type_name(backbone)}; '
            "use 'mmrep.LayerDecayOptimWrapperConstructor'."
        )
    for place, scheduler in _values(cfg._cfg_dict, 'param_scheduler.*'):
        if isinstance(scheduler, dict):
            _check_type(cfg, place, scheduler, PARAM_SCHEDULERS)


def _check_type(cfg: Config, key: str, part: dict, root: Any) -> None:
    """Raise an error if a registry does not have a type."""
    kind = part.get('type')
    if not isinstance(kind, str):
        if kind is None:
            raise UsageError(f'{key}.type must be set, but is not.')
        return
    scope = cfg.get('default_scope') or 'mmengine'
    with DefaultScope.overwrite_default_scope(scope):
        with root.switch_scope_and_registry(None) as registry:
            if registry.get(kind) is not None:
                return
    close = difflib.get_close_matches(kind, root.module_dict, 1, 0.6)
    hint = f'; did you mean {close[0]!r}?' if close else '.'
    raise UsageError(
        f'{key}.type must be the name of a known {root.name}, got '
        f'{kind!r}{hint}'
    )


def _check_metric(key: str, metric: dict, cfg: Config) -> None:
    """Check what a metric checks only after all images, or never."""
    kind = type_name(metric).rpartition('.')[2]
    if kind == 'IoUMetric':
        names = _listed(metric.get('iou_metrics', ['mIoU']))
        _check_names(f'{key}.iou_metrics', names, _IOU_NAMES)
        for name in ('beta', 'nan_to_num'):
            if metric.get(name) is not None:
                _check_number(f'{key}.{name}', metric[name], False, 0, -1)
    elif kind == 'CocoMetric':
        names = _listed(metric.get('metric', 'bbox'))
        _check_names(f'{key}.metric', names, _COCO_METRICS)
        items = _listed(metric.get('metric_items') or [])
        _check_names(f'{key}.metric_items', items, _COCO_ITEMS, False)
        counts = _listed(metric.get('proposal_nums', (100, 300, 1000)))
        if names != ['proposal_fast'] and (
            len(counts) != 3 or 100 not in counts
        ):
            # pycocotools has three, and without 100 the AP is -1
            raise UsageError(
                f'{key}.proposal_nums must be three numbers with 100 among '
                f'them, got {counts}.'
            )
        if 'segm' in names and not _has_masks(cfg.get('model') or {}):
            raise UsageError(
                f"{key}.metric has 'segm', but the model has no mask head; "
                "use 'bbox'."
            )
    elif kind == 'VOCMetric':
        _check_names(
            f'{key}.metric',
            _listed(metric.get('metric', 'mAP')),
            ('mAP', 'recall'),
        )
        if metric.get('scale_ranges') is not None:
            raise UsageError(
                f'{key}.scale_ranges must be None: with any other value '
                'MMDetection fails after the last image.'
            )
        if metric.get('iou_thrs') is not None:
            # MMDetection accepts only a float or a list
            metric['iou_thrs'] = _listed(metric['iou_thrs'])
    if kind in ('CocoMetric', 'VOCMetric'):
        for threshold in _listed(metric.get('iou_thrs') or []):
            if not isinstance(threshold, Real) or not 0 < threshold <= 1:
                raise UsageError(
                    f'{key}.iou_thrs must be numbers from 0 to 1, got '
                    f'{threshold!r}.'
                )


def _check_truth(key: str, metric: dict, cfg: Config, loader: str) -> None:
    """Check that COCO's metric has ground truth to compare with."""
    if metric.get('ann_file') or metric.get('format_only'):
        return
    if not gives_instances(cfg, loader):
        raise UsageError(
            f'{key}.ann_file must be the annotation file of {loader}, but is '
            f'{metric.get("ann_file")!r}: there is nothing to compare with.'
        )


def _has_masks(model: dict) -> bool:
    """Whether a detector may have masks; False if it certainly has none."""
    while 'module' in model:  # of test-time augmentation
        model = model['module']
    if 'roi_head' in model:
        return model['roi_head'].get('mask_head') is not None
    return type_name(model).rpartition('.')[2] not in ('FCOS', 'RetinaNet')


def _listed(value: Any) -> List[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _check_names(
    key: str, names: Sequence, known: Any, some: bool = True
) -> None:
    if some and not names:
        raise UsageError(
            f'{key} must have some of {", ".join(known)}; got none.'
        )
    for name in names:
        if name not in known:
            raise UsageError(
                f'{key} must be one of {", ".join(known)}; got {name!r}.'
            )


def metric_names(
    cfg: Config, loader: str = 'val_dataloader'
) -> Optional[List[str]]:
    """Names of the scores that a config's validation or test returns.

    Returns:
        list[str] | None: None if one of the metrics is unknown.
    """
    names: List[str] = []
    for metric in _evaluators(cfg, loader):
        kind = type_name(metric).rpartition('.')[2]
        if kind not in _NAMES or metric.get('classwise'):
            return None  # also with names of classes
        if metric.get('format_only'):
            continue
        prefix, find = _NAMES[kind]
        prefix = metric.get('prefix') or prefix
        names += [f'{prefix}/{n}' if prefix else n for n in find(metric)]
    return names


def _iou_names(metric: dict) -> List[str]:
    kinds = _listed(metric.get('iou_metrics', ['mIoU']))
    names = [name for kind in kinds for name in _IOU_NAMES[kind]]
    return list(dict.fromkeys(['aAcc', *names]))


def _coco_names(metric: dict) -> List[str]:
    names: List[str] = []
    for kind in _listed(metric.get('metric', 'bbox')):
        items = metric.get('metric_items')
        if kind == 'proposal_fast':
            counts = metric.get('proposal_nums', (100, 300, 1000))
            names += [f'AR@{count}' for count in counts]
        elif kind == 'proposal':
            names += items or _COCO_ITEMS[6:]
        else:
            names += [f'{kind}_{x}' for x in items or _COCO_ITEMS[:6]]
    return names


def _voc_names(metric: dict) -> List[str]:
    thresholds = _listed(metric.get('iou_thrs', 0.5))
    if _listed(metric.get('metric', 'mAP')) == ['mAP']:
        return ['mAP', *(f'AP{int(t * 100):02d}' for t in thresholds)]
    counts = metric.get('proposal_nums', (100, 300, 1000))
    names = [f'recall@{n}@{t}' for n in counts for t in thresholds]
    return names + [f'AR@{n}' for n in counts if len(thresholds) > 1]


def _topk_names(metric: dict) -> List[str]:
    return [f'top{k}' for k in metric.get('topk', (1, 5))]


# For each metric, the prefix of its names, and the names.
_NAMES = {
    'IoUMetric': ('', _iou_names),
    'CocoMetric': ('coco', _coco_names),
    'VOCMetric': ('pascal_voc', _voc_names),
    'TopKAccuracy': ('accuracy', _topk_names),
}


def _check_monitored(cfg: Config) -> None:
    """Check that validation returns the scores other parts wait for."""
    hooks = cfg.get('default_hooks') or {}
    wanted = [
        ('default_hooks.checkpoint.save_best', name)
        for name in _listed((hooks.get('checkpoint') or {}).get('save_best'))
    ]
    for key in ('custom_hooks.*', 'param_scheduler.*'):
        for place, part in _values(cfg._cfg_dict, key):
            if isinstance(part, dict):
                kind = type_name(part).rpartition('.')[2]
                default = (
                    'loss' if kind.startswith('ReduceOnPlateau') else None
                )
                wanted.append(
                    (f'{place}.monitor', part.get('monitor', default))
                )
    wanted = [(key, name) for key, name in wanted if name is not None]
    if not wanted:
        return
    if cfg.get('val_evaluator') is None or cfg.get('val_dataloader') is None:
        key, name = wanted[0]
        raise UsageError(
            f'{key} is {name!r}, but the config has no validation that would '
            f'give it; set {key}=None, or define val_dataloader, val_cfg and '
            'val_evaluator.'
        )
    names = metric_names(cfg)
    for key, name in wanted:
        if names is not None and name not in [*names, 'auto']:
            close = difflib.get_close_matches(name, names, 1, 0.6)
            hint = f'; did you mean {close[0]!r}?' if close else '.'
            raise UsageError(
                f'{key} must be a metric of val_evaluator, which gives '
                f'{", ".join(names) or "none"}; got {name!r}{hint}'
            )
