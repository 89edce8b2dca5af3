"""Describe a run in the first lines of its log."""

import shlex
import sys
from typing import Any, Dict, Iterator, List

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from mmrep.data.datasets import LOADERS, inner_datasets
from mmrep.errors import counted
from mmrep.registry import type_name


def describe_run(cfg: Config, seed: Any, log_dir: str) -> str:
    """Say what a run does, with what, and where.

    Args:
        cfg (Config): Config of the run.
        seed (int, optional): Its seed.
        log_dir (str): Where its log is.

    Returns:
        str: A line for each fact.
    """
    facts = (
        ('command', shlex.join(sys.argv)),
        ('config', cfg.filename),
        ('model', _model(cfg.get('model') or {})),
        ('data', ', '.join(_data(cfg))),
        ('weights', _weights(cfg)),
        ('device', _device()),
        ('seed', seed),
        ('work dir', cfg.get('work_dir')),
        ('log', f'{log_dir}, with the environment and the whole config'),
    )
    lines = [f'    {name}: {fact}' for name, fact in facts]
    return '\n'.join(['this run', *lines])


def _model(model: dict) -> str:
    while 'module' in model:  # of test-time augmentation
        model = model['module']
    backbone = model.get('backbone')
    if not isinstance(backbone, dict):
        return type_name(model)
    arch = backbone.get('arch')
    size = f' {arch}' if isinstance(arch, str) else ''
    return f'{type_name(model)} with {type_name(backbone)}{size}'


def _data(cfg: Config) -> Iterator[str]:
    """The folders of the data sets, each listed once."""
    places: Dict[str, List[str]] = {}
    for loader in LOADERS:
        for _, dataset in inner_datasets(cfg, loader):
            root = dataset.get('data_root') or '.'
            place = f'{type_name(dataset)} in {root}'
            places.setdefault(place, []).append(loader.partition('_')[0])
    for place, modes in places.items():
        yield f'{place} ({", ".join(dict.fromkeys(modes))})'


def _weights(cfg: Config) -> str:
    if cfg.get('load_from'):
        resumes = 'continues from' if cfg.get('resume') else 'starts from'
        return f'{resumes} {cfg.load_from}'
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    init_cfg = backbone.get('init_cfg')
    if isinstance(init_cfg, dict) and init_cfg.get('checkpoint'):
        return f'the backbone starts from {init_cfg["checkpoint"]}'
    return 'random'


def _device() -> str:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f'CPU, {counted(torch.get_num_threads(), "thread")}'
    processes = get_world_size()
    return name if processes == 1 else f'{processes} processes, each on {name}'
