"""From the command line to a config that can run: reading, switches, checks.

Every check raises :class:`mmrep.errors.UsageError` before a run starts.
"""

import difflib
import inspect
import os
import os.path as osp
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmrep.compat.coco_eval import take_missing_crowds_as_none
from mmrep.compat.configs import config_names, find_config
from mmrep.data.coco import check_coco, get_coco_class
from mmrep.data.datasets import LOADERS, inner_datasets
from mmrep.engine.inheritance import (
    check_kinds,
    check_lists,
    replace_others,
)
from mmrep.engine.outdated import check_age
from mmrep.engine.values import check_options
from mmrep.errors import UsageError, one_line
from mmrep.registry import name_types, type_name
from mmrep.runner.distributed import ask_rank_0, init_distributed

# Top-level keys that a run reads although Runner has no such argument.
_EXTRA_KEYS = (
    'channels_last',
    'compile',
    'compile_backbone',
    'custom_imports',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


def load_config(
    filename: str, cfg_options: Optional[Dict[str, Any]] = None
) -> Config:
    """Read a config file and apply ``--cfg-options``.

    Args:
        filename (str): Path of the config, or the name of one of mmrep's,
            such as 'upernet_replknet31b_ade20k' or 'mmrep::NAME.py', or of
            another package's, such as 'mmseg::FOLDER/NAME.py'.
        cfg_options (dict, optional): Dotted keys and their values. Defaults
            to None.

    Returns:
        Config: The merged config.

    Raises:
        UsageError: If the file or one of its bases cannot be read, or an
            option names a key that nothing reads.
    """
    filename = _find_file(filename)
    # a config is a program, and merging checks little, so any error may occur
    try:
        cfg = Config.fromfile(filename)
        # an imported class is not a setting
        for key in [k for k, v in cfg.items() if isinstance(v, type)]:
            cfg.pop(key)
        name_types(cfg._cfg_dict, cfg.get('default_scope') or 'mmengine')
    except Exception as error:
        text = one_line(error, kind=not isinstance(error, UsageError))
        if isinstance(error, ImportError) and 'mmpretrain' in text:
            text += (
                '; ConvNeXt is in MMPretrain: pip install -r '
                'requirements/convnext.txt'
            )
        raise UsageError(
            f'the config {filename} cannot be read: {text}'
        ) from error
    if cfg_options:
        _check_keys(cfg, cfg_options)
        check_options(cfg, cfg_options)
        try:
            cfg.merge_from_dict(replace_others(cfg, cfg_options))
            if any(key.startswith('custom_imports') for key in cfg_options):
                import_modules_from_strings(**cfg.custom_imports)
        except Exception as error:
            raise UsageError(
                '--cfg-options does not fit the config: '
                f'{one_line(error, kind=True)}'
            ) from error
    check_kinds(cfg)
    check_lists(cfg)
    return cfg


def _find_file(filename: str) -> str:
    """The path of a config, which may be the name of one of ours."""
    if osp.isfile(filename):
        return filename
    package, _, name = filename.rpartition('::')
    if package in MODULE2PACKAGE:
        try:
            return Config._get_cfg_path(filename, '')[0]
        except Exception as error:
            raise UsageError(
                f'{filename} is not a config of an installed package: '
                f'{one_line(error, kind=True)}'
            ) from error
    if package not in ('', 'mmrep') or (not package and osp.dirname(name)):
        stem = osp.basename(name).removesuffix('.py')
        known = stem in config_names()
        raise UsageError(
            f'the config must be an existing file, got {filename!r}'
            + (f'; the one of mmrep is called {stem!r}.' if known else '.')
        )
    try:
        return find_config(name)
    except UsageError as error:
        raise UsageError(f'{filename} is not a file, and {error}') from error


def _check_keys(cfg: Config, options: Dict[str, Any]) -> None:
    """Refuse options below a missing key, which is probably misspelt.

    Only its class knows what a dict with a ``type`` may hold, so there only
    keys similar to existing ones are refused.
    """
    read = {*inspect.signature(Runner.__init__).parameters, *_EXTRA_KEYS}
    top_keys = read | cfg.keys()
    for option in options:
        if option == 'data_root':
            raise UsageError(
                '--cfg-options data_root has no effect on any data set; use '
                '--data-root.'
            )
        parts = option.split('.')
        copied = cfg.get(parts[0]) if parts[0] not in read else None
        for key in sorted(read & cfg.keys()) if copied else ():
            place = _place_of(copied, cfg[key], key)
            if place is not None:
                raise UsageError(
                    f'--cfg-options {option} has no effect: {parts[0]} is a '
                    'variable that the config has already copied; set '
                    f'{place} instead.'
                )
        node: Any = cfg
        for i, part in enumerate(parts):
            if isinstance(node, (list, tuple)):
                if not part.isdigit() or int(part) >= len(node):
                    break
                node = node[int(part)]
            elif part in node:
                node = node[part]
                if not isinstance(node, (dict, list, tuple)):
                    break
            elif i == 0 and part in top_keys:
                break
            else:
                last = 0 < i == len(parts) - 1
                if last and 'type' in node:
                    break
                known = top_keys if i == 0 else node
                lenient = last or 'type' in node
                cutoff = 0.8 if lenient else 0.6
                close = difflib.get_close_matches(part, known, 1, cutoff)
                if lenient and not close:
                    break
                key = '.'.join(parts[: i + 1])
                hint = f'; did you mean {close[0]!r}?' if close else '.'
                raise UsageError(
                    f'--cfg-options {option}: the config has no {key!r}{hint}'
                )


def _place_of(value: Any, node: Any, key: str) -> Optional[str]:
    """The first key at or below ``node`` that holds a string or container."""
    if isinstance(value, (str, dict, list, tuple)) and node == value:
        return key
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    places = (_place_of(value, v, f'{key}.{k}') for k, v in items)
    return next((place for place in places if place is not None), None)


def set_work_dir(cfg: Config, filename: str, work_dir: Optional[str]) -> None:
    """Set ``cfg.work_dir``: the argument, else the config's, else a default.

    The default is ``./work_dirs/`` and the config's name.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = osp.basename(filename).rpartition('::')[2]
        name = osp.splitext(name)[0]
        cfg.work_dir = osp.join('./work_dirs', name)


def _evaluators(cfg: Config, loader: str) -> List[dict]:
    """The configs of the metrics of a data loader."""
    metrics = cfg.get(loader.replace('_dataloader', '_evaluator')) or []
    return [metrics] if isinstance(metrics, dict) else list(metrics)


def set_data_root(
    cfg: Config, data_root: str, loaders: Sequence[str] = LOADERS
) -> None:
    """Point data sets at another folder.

    Annotation files of metrics in a data set's folder move with it.

    Args:
        cfg (Config): Changed in place.
        data_root (str): The folder.
        loaders (Sequence[str]): The loaders of the data sets. Defaults to
            those of training, validation and test.

    Raises:
        UsageError: If the data sets are in several folders.
    """
    roots: Dict[str, str] = {}
    for loader in loaders:
        for key, dataset in inner_datasets(cfg, loader):
            if dataset.get('data_root'):
                roots.setdefault(osp.normpath(dataset['data_root']), key)
    if len(roots) > 1:
        places = ', '.join(f'{root} ({key})' for root, key in roots.items())
        raise UsageError(
            '--data-root replaces one folder, but the data sets of the '
            f'config are in {len(roots)}: {places}; set the data_root of each '
            'with --cfg-options.'
        )
    for loader in loaders:
        for _, dataset in inner_datasets(cfg, loader):
            old = osp.normpath(dataset.get('data_root') or '.')
            dataset['data_root'] = data_root
            for metric in _evaluators(cfg, loader):
                path = osp.normpath(metric.get('ann_file') or '')
                if path.startswith(osp.join(old, '')):
                    path = osp.relpath(path, old)
                    metric['ann_file'] = osp.join(data_root, path)


def check_data(cfg: Config, *loaders: str, launcher: str = 'none') -> None:
    """Check that the folders and files of data sets exist and fit the config.

    Args:
        cfg (Config): Config of the run.
        *loaders (str): Which of ``train_dataloader``, ``val_dataloader`` and
            ``test_dataloader`` the run uses.
        launcher (str): What started the processes, as in :func:`build_runner`;
            rank 0 checks for all. Defaults to 'none'.

    Raises:
        UsageError: If a data loader is not configured, a path does not exist,
            or an annotation file in COCO format is wrong (see
            :func:`mmrep.data.coco.check_coco`).
    """
    check_age(cfg)
    for name in loaders:
        if cfg.get(name) is None:
            raise UsageError(f'the config must define {name}.')
    if launcher != 'none':
        init_distributed(cfg, launcher)
    ask_rank_0(lambda: _check_data(cfg, loaders))
    if any(
        get_coco_class(cfg, dataset)
        for loader in loaders
        for _, dataset in inner_datasets(cfg, loader)
    ):
        take_missing_crowds_as_none()


def _check_data(cfg: Config, loaders: Sequence[str]) -> None:
    for loader in loaders:
        metrics = _evaluators(cfg, loader)
        predicts = any(metric.get('format_only') for metric in metrics)
        for key, dataset in inner_datasets(cfg, loader):
            if dataset.get('backend_args') is None:
                _check_paths(key, dataset)
                check_coco(cfg, key, dataset, metrics, not predicts)
        for metric in metrics:
            path = metric.get('ann_file')
            if path and '://' not in path and not osp.isfile(path):
                raise UsageError(
                    f'the metric {metric.get("type")} of {loader} needs the '
                    f'annotation file {path!r}, which does not exist.'
                )


def _check_paths(key: str, dataset: Dict[str, Any]) -> None:
    root = dataset.get('data_root') or ''
    prefixes = dataset.get('data_prefix') or {}
    if None in prefixes.values():
        raise UsageError(
            f'{key}.data_prefix must name folders, got {dict(prefixes)}; '
            'if there is no folder, as for a test set without labels, '
            'replace it with dict(_delete_=True, img_path=FOLDER).'
        )
    for name in ('ann_file', 'img_suffix', 'seg_map_suffix'):
        if not isinstance(dataset.get(name, ''), (str, Path)):
            raise UsageError(
                f'{key}.{name} must be a word, got {dataset[name]!r}.'
            )
    if dataset.get('img_suffix') == '' and not dataset.get('ann_file'):
        # MMSegmentation derives the names of label maps from it
        raise UsageError(
            f"{key}.img_suffix must be the end of the pictures' names, such "
            "as '.jpg', got ''."
        )
    paths = [('folder', p) for p in prefixes.values()]
    if dataset.get('ann_file'):
        paths.append(('annotation file', dataset['ann_file']))
    for kind, path in paths:
        path = osp.join(root, path)
        exists = osp.isdir(path) if kind == 'folder' else osp.exists(path)
        if '://' not in path and not exists:
            raise UsageError(
                f'{key} needs the {kind} {path!r}, which does not exist. '
                f'Link your data to {root!r} or pass --data-root; '
                'docs/getting_started.md#data describes the layout of each.'
            )


def enable_amp(cfg: Config, dtype: Optional[str] = None) -> None:
    """Switch training to mixed precision.

    Args:
        cfg (Config): Config of the run.
        dtype (str, optional): 'fp16' or 'bf16'. Defaults to None, the type in
            the config, or else fp16 on a GPU and bf16 on the CPU.

    Raises:
        UsageError: If the config has no optimizer wrapper, or one of another
            type.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        raise UsageError('--amp needs optim_wrapper in the config.')
    kind = type_name(wrapper) or 'OptimWrapper'
    if kind.rpartition('.')[2] not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UsageError(
            f'--amp needs optim_wrapper.type to be OptimWrapper, got {kind}.'
        )
    wrapper.type = 'mmrep.AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')
    if dtype is not None:
        wrapper.dtype = dict(fp16='float16', bf16='bfloat16')[dtype]


def enable_aug_test(cfg: Config) -> None:
    """Switch a test to the config's test-time augmentation.

    Raises:
        UsageError: If the config has no ``model``, ``tta_model`` or
            ``tta_pipeline``.
    """
    for key in ('model', 'tta_model', 'tta_pipeline'):
        if cfg.get(key) is None:
            raise UsageError(
                f'--aug-test needs {key} in the config, but it has none; '
                'configs/_base_/ shows how to define it.'
            )
    for _, dataset in inner_datasets(cfg, 'test_dataloader'):
        dataset['pipeline'] = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def enable_half_test(cfg: Config, dtype: str) -> None:
    """Make a test compute in 16 bits: 'bf16' or 'fp16'."""
    hook = dict(type='mmrep.HalfPrecisionHook', dtype=dtype)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def check_folder(option: str, folder: str) -> None:
    """Check that a folder can be written, without creating it.

    Args:
        option (str): The option that names it.
        folder (str): The folder.

    Raises:
        UsageError: If it cannot be written.
    """
    existing = osp.abspath(folder)
    if not folder:
        raise UsageError(f"{option} must be a folder, got ''.")
    while not osp.lexists(existing):
        existing = osp.dirname(existing)
    if osp.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):
        return
    why = 'cannot be written' if osp.isdir(existing) else 'is not a folder'
    raise UsageError(
        f'{option} must be a folder that can be written, got {folder!r}, and '
        f'{existing} {why}; give another one.'
    )


def check_png(option: str, path: str) -> None:
    """Check that a picture to write is a PNG file.

    Args:
        option (str): What named it.
        path (str): The file.

    Raises:
        UsageError: If its suffix is another.
    """
    if osp.splitext(path)[1].lower() != '.png':
        raise UsageError(f'{option} must be a .png file, got {path!r}.')


def enable_output(cfg: Config, out_dir: str) -> str:
    """Make a test write its predictions into ``out_dir``.

    A segmentor writes label maps, ``IMAGE.png``; a detector writes
    ``predictions.bbox.json`` and, with masks, ``predictions.segm.json``, in
    the format of COCO's server.

    Returns:
        str: What the folder will hold.

    Raises:
        UsageError: If no evaluator of the config writes them, or the folder
            cannot be written.
    """
    check_folder('--out', out_dir)
    writers = {'IoUMetric': [], 'CocoMetric': []}
    for metric in _evaluators(cfg, 'test_dataloader'):
        name = type_name(metric).rpartition('.')[2]
        writers.get(name, []).append(metric)
    for metric in writers['IoUMetric']:
        metric.output_dir = out_dir
    for metric in writers['CocoMetric']:
        metric.outfile_prefix = osp.join(out_dir, 'predictions')
    if writers['CocoMetric']:
        return 'predictions.*.json'
    if writers['IoUMetric']:
        return 'label maps'
    raise UsageError(
        '--out needs an IoUMetric or a CocoMetric in test_evaluator.'
    )
