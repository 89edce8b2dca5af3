"""What a config takes over from its base, and what it replaces."""

from typing import Any, Dict, Iterator, Tuple

from mmengine.config import Config

from mmrep.errors import UsageError


def replace_others(cfg: Config, options: Dict[str, Any]) -> Dict[str, Any]:
    """Have dicts among ``--cfg-options`` take the place of what is no dict.

    A dict is merged with a dict, and MMEngine refuses to merge it with
    anything else, such as with the name of an architecture.

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


def check_lists(cfg: Config) -> None:
    """Check that the modules in lists of the model have a type.

    A list in a config takes the place of its base's list, where a dict is
    merged with its base's dict.

    Raises:
        UsageError: If one has none.
    """
    for key, module in _modules(cfg.get('model'), 'model'):
        if 'type' not in module:
            name, _, index = key.rpartition('.')
            raise UsageError(
                f"{key} has no type: a list takes the place of the base's "
                'list, item by item nothing is inherited. Pass --cfg-options '
                f'{name}.{index}.{next(iter(module), "key")}=..., or see '
                'docs/configs.md#lists.'
            )


def _modules(node: Any, key: str) -> Iterator[Tuple[str, dict]]:
    """Heads that stand in lists, with their places."""
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
