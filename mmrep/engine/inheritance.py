"""Inheritance of configs: dicts are merged, lists are replaced."""

from typing import Any, Dict, Iterator, Tuple

from mmengine.config import Config

from mmrep.errors import UsageError

_DICTS = (
    *('train_dataloader', 'val_dataloader', 'test_dataloader'),
    *('train_cfg', 'val_cfg', 'test_cfg', 'model', 'optim_wrapper'),
    'model.backbone',
    *('default_hooks', 'env_cfg', 'log_processor', 'visualizer'),
    'model.data_preprocessor',
    *(f'{x}_dataloader.sampler' for x in ('train', 'val', 'test')),
)
_DICTS_WITHOUT_TYPE = (
    *('auto_scale_lr', 'custom_imports', 'env_cfg.dist_cfg', 'env_cfg.mp_cfg'),
    *('model.test_cfg', 'optim_wrapper.clip_grad', 'randomness'),
    'optim_wrapper.paramwise_cfg',
)
_DICTS_OR_LISTS = ('val_evaluator', 'test_evaluator', 'param_scheduler')


def replace_others(cfg: Config, options: Dict[str, Any]) -> Dict[str, Any]:
    """Let dicts in ``--cfg-options`` replace values that are not dicts.

    MMEngine merges a dict with a dict, and refuses to merge it with anything
    else, such as the name of an architecture.

    Args:
        cfg (Config): The config.
        options (dict): Dotted keys and their values.

    Returns:
        dict: The same for :meth:`Config.merge_from_dict`.
    """
    marked = {}
    for key, value in options.items():
        if isinstance(value, dict):
            node: Any = cfg._cfg_dict
            for part in key.split('.'):
                if isinstance(node, (list, tuple)):
                    node = node[int(part)] if part.isdigit() else {}
                else:
                    node = node.get(part, {}) if isinstance(node, dict) else {}
            if not isinstance(node, dict):
                value = {**value, '_delete_': True}
        marked[key] = value
    return marked


def check_kinds(cfg: Config) -> None:
    """Check that parts of a config are dicts or lists where they must be.

    Raises:
        UsageError: Names the key and the value.
    """
    for key, value in _parts(cfg._cfg_dict):
        if not isinstance(value, dict):
            typed = isinstance(value, str) and key not in _DICTS_WITHOUT_TYPE
            hint = f', such as dict(type={value!r}, ...)' if typed else ''
            raise UsageError(f'{key} must be a dict{hint}, got {value!r}.')
    for key, value in _lists(cfg._cfg_dict):
        if not isinstance(value, (list, tuple)):
            raise UsageError(f'{key} must be a list, got {value!r}.')


def _lists(cfg: dict) -> Iterator[Tuple[str, Any]]:
    """Keys that must be lists if they are set."""
    if cfg.get('custom_hooks') is not None:
        yield 'custom_hooks', cfg['custom_hooks']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset')
        if isinstance(dataset, dict) and 'pipeline' in dataset:
            yield f'{loader}.dataset.pipeline', dataset['pipeline']


def _parts(cfg: dict) -> Iterator[Tuple[str, Any]]:
    """Keys that must be dicts if they are set."""
    for key in (*_DICTS, *_DICTS_WITHOUT_TYPE):
        outer, _, inner = key.rpartition('.')
        value = (cfg.get(outer) or {} if outer else cfg).get(inner)
        if value is not None:
            yield key, value
    for key in _DICTS_OR_LISTS:
        value = cfg.get(key)
        if isinstance(value, (list, tuple)):
            for i, part in enumerate(value):
                yield f'{key}.{i}', part
        elif value is not None:
            yield key, value
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset', {})
        # a list, of 0.x, is explained elsewhere
        if not isinstance(dataset, (list, tuple)):
            yield f'{loader}.dataset', dataset
            prefix = (dataset or {}).get('data_prefix')
            if prefix is not None:
                yield f'{loader}.dataset.data_prefix', prefix
    if 'optimizer' in (cfg.get('optim_wrapper') or {}):
        yield 'optim_wrapper.optimizer', cfg['optim_wrapper']['optimizer']
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            yield f'default_hooks.{name}', hook


def check_lists(cfg: Config) -> None:
    """Check that the modules in lists of the model have a type.

    A list in a config replaces the list of its base, whereas a dict is merged
    with the dict of its base.

    Raises:
        UsageError: If one has none.
    """
    for key, module in _modules(cfg.get('model'), 'model'):
        if 'type' not in module:
            name, _, index = key.rpartition('.')
            if isinstance(_base_value(cfg, name), dict):
                raise UsageError(
                    f'{name} is a list whose items have no type, but the base '
                    'config has a dict, not a list: write '
                    f'{name.rpartition(".")[2]}=dict(...), which is merged '
                    'with it.'
                )
            raise UsageError(
                f'{key} has no type: a list replaces the list of the base '
                'config, so its items inherit nothing. Pass --cfg-options '
                f'{name}.{index}.{next(iter(module), "key")}=..., or see '
                'docs/configs.md#lists.'
            )


def replaced_dict(cfg: Config) -> str:
    """A list of modules in the model that replaces a dict of the base.

    Returns:
        str: Its key; '' if there is none.
    """
    lists = {key.rpartition('.')[0] for key, _ in _modules(cfg.model, 'model')}
    for key in sorted(lists):
        if isinstance(_base_value(cfg, key), dict):
            return key
    return ''


def _base_value(cfg: Config, key: str) -> Any:
    """What the bases of a config have at a key; None if that is unknown."""
    try:
        for name in reversed(Config._get_base_files(cfg.filename)):
            base = Config.fromfile(Config._get_cfg_path(name, cfg.filename)[0])
            value: Any = base._cfg_dict
            for part in key.split('.'):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                return value
    except Exception:  # a config without a file, or with imports as bases
        pass
    return None


def _modules(node: Any, key: str) -> Iterator[Tuple[str, dict]]:
    """Heads in lists, with their places."""
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        place = f'{key}.{name}'
        listed = isinstance(value, (list, tuple))
        if listed and name.endswith('_head'):
            for i, item in enumerate(value):
                if isinstance(item, dict):
                    yield f'{place}.{i}', item
        yield from _modules(value, place)
