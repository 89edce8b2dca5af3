"""Replace parts of MMEngine by our safer forms in a config."""

from typing import Optional

from mmengine.config import Config
from mmengine.fileio import register_backend
from mmengine.registry import RUNNERS

from mmrep.registry import type_name
from mmrep.runner.runner import FlexibleRunner, Runner
from mmrep.runner.saving import LocalBackend

_OWN = (
    'AmpOptimWrapper',
    'CheckpointHook',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'LocalVisBackend',
    'LoggerHook',
    'OptimWrapper',
    'TestLoop',
    'ValLoop',
)


def _use_own_class(part: Optional[dict]) -> None:
    """Set the type of a part to our class of the same name, if we have one."""
    name = type_name(part).removeprefix('mmengine.')
    if name in _OWN:
        part['type'] = f'mmrep.{name}'


def use_hardened_parts(cfg: Config) -> type:
    """Replace MMEngine's parts of a run by ones that survive faults.

    They take the same arguments and write the same files. Other classes,
    including the user's own, stay. From here on, MMEngine's ``fileio`` writes
    files completely or not at all.

    Args:
        cfg (Config): Config of the run, changed in place.

    Returns:
        type: The class of the runner.
    """
    register_backend('local', LocalBackend, force=True, prefixes='')
    for backend in (cfg.get('visualizer') or {}).get('vis_backends') or []:
        _use_own_class(backend)
    for key in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(key) or []
        for metric in [metrics] if isinstance(metrics, dict) else metrics:
            if type_name(metric) in ('IoUMetric', 'mmseg.IoUMetric'):
                metric['type'] = 'mmrep.IoUMetric'
    train_cfg = cfg.get('train_cfg')
    if train_cfg and 'by_epoch' in train_cfg:
        by_epoch = train_cfg.pop('by_epoch')
        train_cfg.type = f'{"Epoch" if by_epoch else "Iter"}BasedTrainLoop'
    _use_own_class(train_cfg)
    for mode in ('Val', 'Test'):
        loop = cfg.get(f'{mode.lower()}_cfg')
        if loop is not None:
            loop.setdefault('type', f'{mode}Loop')
            _use_own_class(loop)
    optim_wrapper = cfg.get('optim_wrapper')
    if optim_wrapper and 'optimizer' in optim_wrapper:
        optim_wrapper.setdefault('type', 'OptimWrapper')
    _use_own_class(optim_wrapper)
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = {}
    cfg.default_hooks.setdefault(
        'checkpoint', dict(type='CheckpointHook', interval=1)
    )
    cfg.default_hooks.setdefault('logger', dict(type='LoggerHook'))
    for name in ('checkpoint', 'logger'):
        _use_own_class(cfg.default_hooks[name])
    kind = cfg.get('runner_type', 'Runner')
    own = dict(Runner=Runner, FlexibleRunner=FlexibleRunner)
    return own[kind] if kind in own else RUNNERS.get(kind)
