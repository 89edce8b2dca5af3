"""Check that values of a config have the right type."""

from numbers import Real
from typing import Any, Dict, Iterator, Optional, Tuple

from mmengine.config import Config

from mmrep.errors import UsageError

# Keys whose value may be a word, a number or a dict.
_FREE = {
    *('add_extra_convs', 'arch', 'compile', 'compile_backbone', 'data_prefix'),
    *('log_level', 'loss_scale', 'resume'),
}


def check_options(cfg: Config, options: Dict[str, Any]) -> None:
    """Check that options have the type of the values they replace.

    Args:
        cfg (Config): The config without the options.
        options (dict): Dotted keys and their values.

    Raises:
        UsageError: If a word replaces something else, or a number replaces a
            word or a dict.
    """
    for key, value in options.items():
        old = _value_at(cfg._cfg_dict, key)
        expected = _expected(old, value)
        if expected and key.rpartition('.')[2] not in _FREE:
            raise UsageError(
                f'--cfg-options {key} must be {expected}, got {value!r}.'
            )


def check_loss_weights(cfg: Config) -> None:
    """Check the weights of losses, which are read only in a loss.

    Raises:
        UsageError: If one is not a number.
    """
    for key, value in _named('loss_weight', cfg.get('model'), 'model'):
        if not _are_numbers(value):
            raise UsageError(f'{key} must be a number, got {value!r}.')


def _expected(old: Any, value: Any) -> Optional[str]:
    """What a value must be to replace an old one, or None if it is."""
    is_word = isinstance(value, str)
    if isinstance(old, bool):
        return f'True or False, as {old} is' if is_word else None
    if isinstance(old, dict):
        typed = is_word and 'type' in old
        hint = f', such as dict(type={value!r}, ...)' if typed else ''
        return f'a dict{hint}' if is_word or isinstance(value, Real) else None
    if isinstance(old, str):
        is_number = isinstance(value, Real)
        return f'a word, as {old!r} is' if is_number else None
    if _are_numbers(old) and _has_words(value):
        one = isinstance(old, Real)
        return f'{"a number" if one else "numbers"}, as {old} is'
    return None


def _are_numbers(value: Any) -> bool:
    """Whether something is a number, or has only numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_are_numbers, value))
    return isinstance(value, Real) and not isinstance(value, bool)


def _has_words(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_words, value))
    return isinstance(value, str)


def _value_at(node: Any, key: str) -> Any:
    """The value of a config at a dotted key, or None."""
    for part in key.split('.'):
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, (list, tuple)) and part.isdigit():
            node = node[int(part)] if int(part) < len(node) else None
        else:
            return None
    return node


def _named(name: str, node: Any, place: str) -> Iterator[Tuple[str, Any]]:
    """The values of a config with a name, wherever it occurs."""
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        if key == name:
            yield f'{place}.{key}', value
        yield from _named(name, value, f'{place}.{key}')
