"""From the command line to a config that can run: reading, switches, checks.

Every check raises :class:`mmrep.errors.UsageError` before a run starts.
"""

import difflib
import inspect
import os.path as osp
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmrep.errors import UsageError

_DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Top-level keys that a run reads although Runner has no such argument.
_EXTRA_KEYS = (
    'compile',
    'custom_imports',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


def load_config(
    filename: str, cfg_options: Optional[Dict[str, Any]] = None
) -> Config:
    """Read a config file and apply ``--cfg-options``.

    Args:
        filename (str): Path of the config.
        cfg_options (dict, optional): Dotted keys and their values. Defaults
            to None.

    Returns:
        Config: The merged config.

    Raises:
        UsageError: If the file or one of its bases cannot be read, or an
            option names a key that nothing reads.
    """
    if not osp.isfile(filename):
        raise UsageError(
            f'the config must be an existing file, got {filename!r}.'
        )
    try:
        cfg = Config.fromfile(filename)
    except (
        OSError,
        SyntaxError,
        KeyError,
        TypeError,
        ImportError,
        AttributeError,
        NameError,
    ) as error:
        raise UsageError(
            f'the config {filename} cannot be read: '
            f'{type(error).__name__}: {error}'
        ) from error
    if cfg_options:
        _check_options(cfg, cfg_options)
        cfg.merge_from_dict(cfg_options)
    return cfg


def _check_options(cfg: Config, options: Dict[str, Any]) -> None:
    """Refuse options below a key that is not there, likely misspelt."""
    runner_keys = set(inspect.signature(Runner.__init__).parameters)
    for option in options:
        parts = option.split('.')
        top = parts[0]
        if top not in cfg:
            known = (runner_keys | set(_EXTRA_KEYS) | set(cfg.keys())) - {
                'self',
                'cfg',
            }
            if top not in known:
                raise _unknown_option(option, top, known)
            continue
        node: Any = cfg[top]
        for i, part in enumerate(parts[1:-1], start=1):
            if isinstance(node, dict):
                if part not in node:
                    raise _unknown_option(
                        option,
                        '.'.join(parts[: i + 1]),
                        ['.'.join([*parts[:i], key]) for key in node],
                    )
                node = node[part]
            elif (
                isinstance(node, (list, tuple))
                and part.isdigit()
                and int(part) < len(node)
            ):
                node = node[int(part)]
            else:
                break


def _unknown_option(option: str, key: str, known: Any) -> UsageError:
    close = difflib.get_close_matches(key, list(known), n=1)
    hint = f'; did you mean {close[0]!r}?' if close else '.'
    return UsageError(
        f'--cfg-options {option}: the config has no {key!r}{hint}'
    )


def set_work_dir(cfg: Config, filename: str, work_dir: Optional[str]) -> None:
    """Set ``cfg.work_dir``: the argument, else the config's, else a default.

    The default is ``./work_dirs/`` and the config's name.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(filename))[0]
        cfg.work_dir = osp.join('./work_dirs', name)


def _datasets(
    cfg: Config, loaders: Sequence[str]
) -> Iterator[Tuple[str, dict]]:
    """The innermost dataset configs of the named data loaders."""
    for name in loaders:
        loader = cfg.get(name)
        if loader is None:
            continue
        pending = [(f'{name}.dataset', loader.get('dataset'))]
        while pending:
            key, dataset = pending.pop()
            if isinstance(dataset, (list, tuple)):
                pending.extend(
                    (f'{key}.{i}', d) for i, d in enumerate(dataset)
                )
            elif isinstance(dataset, dict):
                for inner in ('dataset', 'datasets'):
                    if inner in dataset:
                        pending.append((f'{key}.{inner}', dataset[inner]))
                        break
                else:
                    yield key, dataset


def set_data_root(cfg: Config, data_root: str) -> None:
    """Point the training, validation and test sets at another folder."""
    for _, dataset in _datasets(cfg, _DATALOADERS):
        dataset['data_root'] = data_root


def check_data(cfg: Config, *loaders: str) -> None:
    """Check that the folders and files of data sets exist.

    Args:
        cfg (Config): Config of the run.
        *loaders (str): Which of ``train_dataloader``, ``val_dataloader`` and
            ``test_dataloader`` the run uses.

    Raises:
        UsageError: If a data loader is not configured or a path is absent.
    """
    for name in loaders:
        if cfg.get(name) is None:
            raise UsageError(f'the config must define {name}.')
    for key, dataset in _datasets(cfg, loaders):
        if dataset.get('backend_args') is not None:
            continue
        root = dataset.get('data_root') or ''
        prefixes = dataset.get('data_prefix') or {}
        paths = [('folder', p) for p in prefixes.values() if p is not None]
        if dataset.get('ann_file'):
            paths.append(('annotation file', dataset['ann_file']))
        for kind, path in paths:
            path = osp.join(root, path)
            exists = osp.isdir(path) if kind == 'folder' else osp.exists(path)
            if '://' not in path and not exists:
                raise UsageError(
                    f'{key} needs the {kind} {path!r}, which does not exist. '
                    f'Link your data to {root!r} or pass --data-root; the '
                    'README says how each data set is laid out.'
                )


def enable_amp(cfg: Config) -> None:
    """Switch training to mixed precision.

    Raises:
        UsageError: If there is no GPU, or the config's optimizer wrapper is
            of another kind.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UsageError(
            f'--amp needs optim_wrapper.type to be OptimWrapper, got {kind}.'
        )
    if not torch.cuda.is_available():
        raise UsageError(
            '--amp needs a GPU, and none is available; leave '
            'it out to train in fp32 on the CPU.'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_aug_test(cfg: Config) -> None:
    """Switch a test to the config's test-time augmentation.

    Raises:
        UsageError: If the config has no ``tta_model`` or ``tta_pipeline``.
    """
    for key in ('tta_model', 'tta_pipeline'):
        if cfg.get(key) is None:
            raise UsageError(
                f'--aug-test needs {key} in the config, and it has none; '
                'configs/_base_/ shows how to define it.'
            )
    for _, dataset in _datasets(cfg, ['test_dataloader']):
        dataset['pipeline'] = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def enable_drawing(cfg: Config, show_dir: str) -> None:
    """Have a test draw its predictions into ``show_dir``.

    Raises:
        UsageError: If the config has no visualization hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None or cfg.get('visualizer') is None:
        raise UsageError(
            '--show-dir needs visualizer and '
            'default_hooks.visualization in the config.'
        )
    hook.draw = True
    cfg.visualizer.save_dir = show_dir
