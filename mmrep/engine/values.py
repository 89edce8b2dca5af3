"""Check that values of a config have the right type."""

import difflib
import re
from importlib import import_module
from numbers import Real
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config

from mmrep.errors import UsageError

# Keys whose value may be a word, a number or a dict.
_FREE = {
    *('add_extra_convs', 'arch', 'compile', 'compile_backbone', 'data_prefix'),
    *('log_level', 'loss_scale', 'resume'),
}
# Keys of a model whose numbers are 1 or more.
_COUNTS = re.compile(
    r'\.(base_|feat_|in_|mid_|out_)?channels$|\.strides$|'
    r'_head(\.\d+)?\.num_classes$'
)

# Keys of paramwise_cfg.
_GROUPS = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
    *('dwconv_decay_mult', 'flat_decay_mult', 'dcn_offset_lr_mult'),
    'bypass_duplicate',
)


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


def check_model_values(cfg: Config) -> None:
    """Check values of the model that are read only when it computes.

    Raises:
        UsageError: If the weight of a loss is not a number from 0, a number
            of channels or classes or a stride is below 1, ``std`` is not above
            0, no box is kept, or an NMS is unknown or its threshold is not
            from 0 to 1.
    """
    for key, value in _walk(cfg.get('model'), 'model'):
        weight = key.endswith('.loss_weight')
        if weight and not _are_numbers(value):
            raise UsageError(f'{key} must be a number, got {value!r}.')
        if weight and min(_numbers(value)) < 0:
            raise UsageError(f'{key} must be 0 or more, got {value!r}.')
        if _COUNTS.search(key) and min(_numbers(value), default=1) < 1:
            raise UsageError(f'{key} must be 1 or more, got {value!r}.')
        if key.endswith('.max_per_img') and value == 0:
            raise UsageError(
                f'{key} must be the most boxes to keep, but is 0, which keeps '
                'none.'
            )
        if key.endswith('.nms.iou_threshold') and not (
            isinstance(value, Real) and 0 <= value <= 1
        ):
            raise UsageError(
                f'{key} must be a number from 0 to 1, got {value!r}.'
            )
        if key.endswith('.nms.type'):
            # the module, whose function has the same name
            known = vars(import_module('mmcv.ops.nms'))
            if value not in known:
                raise UsageError(
                    f"{key} must be the name of an NMS of mmcv, 'nms' or "
                    f"'soft_nms', got {value!r}."
                )
        spread = key.endswith('data_preprocessor.std')
        if spread and min(_numbers(value), default=1) <= 0:
            raise UsageError(f'{key} must be above 0, got {value!r}.')


def check_groups(wrapper: Dict[str, Any]) -> None:
    """Check the keys of paramwise_cfg, because MMEngine ignores others.

    Args:
        wrapper (dict): Config of the optimizer wrapper.

    Raises:
        UsageError: If MMEngine's constructor does not read one.
    """
    constructor = wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    if constructor != 'DefaultOptimWrapperConstructor':
        return
    for key in wrapper.get('paramwise_cfg') or ():
        if key not in _GROUPS:
            close = difflib.get_close_matches(key, _GROUPS, 1, 0.6)
            hint = f'; did you mean {close[0]!r}?' if close else '.'
            raise UsageError(
                'optim_wrapper.paramwise_cfg may have only '
                f'{", ".join(_GROUPS)}, got {key!r}{hint}'
            )


def note_idle_parts(cfg: Config) -> List[str]:
    """Note parts that do not learn: all losses of a head, or the rate, are 0.

    Args:
        cfg (Config): Config of a training run.

    Returns:
        list[str]: Notes for the user.
    """
    notes = []
    rate = _value_at(cfg._cfg_dict, 'optim_wrapper.optimizer.lr')
    if rate == 0:
        notes.append(
            'optim_wrapper.optimizer.lr is 0: the run changes no parameter'
        )
    if _value_at(cfg._cfg_dict, 'optim_wrapper.clip_grad.max_norm') == 0:
        notes.append(
            'optim_wrapper.clip_grad.max_norm is 0: all gradients become 0'
        )
    model = cfg.get('model') or {}
    for place, part in [('model', model), *_walk(model, 'model')]:
        if not isinstance(part, dict):
            continue
        losses = [
            loss
            for key, value in part.items()
            if key.startswith('loss')
            for loss in (value if isinstance(value, list) else [value])
            if isinstance(loss, dict)
        ]
        if losses and all(x.get('loss_weight', 1) == 0 for x in losses):
            notes.append(
                f'{place} learns nothing: the loss_weight of '
                + ('each of its losses' if losses[1:] else 'its loss')
                + ' is 0'
            )
    return notes


def check_dataset_values(cfg: Config, loader: str) -> None:
    """Check the settings of a data set's size, including its wrappers.

    Raises:
        UsageError: If it is repeated less than once, none of its samples is
            used, or nothing loads them.
    """
    key = f'{loader}.dataset'
    for place, value in _walk((cfg.get(loader) or {}).get('dataset'), key):
        name = place.rpartition('.')[2]
        if name == 'times' and (not isinstance(value, int) or value < 1):
            raise UsageError(
                f'{place} must be a whole number from 1, got {value!r}.'
            )
        if name == 'indices' and value is not None and not value:
            raise UsageError(
                f'{place} must be the number of samples to use or a list of '
                f'them, got {value!r}.'
            )
        if name == 'pipeline' and not value:
            raise UsageError(
                f'{place} must have transforms that load and pack a sample, '
                f'got {value!r}.'
            )


def _expected(old: Any, value: Any) -> Optional[str]:
    """The required type of a new value, or None if the value fits."""
    is_word = isinstance(value, str)
    if isinstance(old, bool):
        return f'True or False, as {old} is' if is_word else None
    if isinstance(old, dict):
        if _are_untyped(value):
            return 'a dict, as the config has there, not a list'
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


def _are_untyped(value: Any) -> bool:
    """Whether something is a list with a dict that has no type."""
    return isinstance(value, (list, tuple)) and any(
        isinstance(part, dict) and 'type' not in part for part in value
    )


def _are_numbers(value: Any) -> bool:
    """Whether something is a number, or has only numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_are_numbers, value))
    return isinstance(value, Real) and not isinstance(value, bool)


def _numbers(value: Any) -> Iterator[Real]:
    """A number, or those of a list."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, Real):
        yield value


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


def _walk(node: Any, place: str) -> Iterator[Tuple[str, Any]]:
    """Every value within a part of a config, with its key."""
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        yield f'{place}.{key}', value
        yield from _walk(value, f'{place}.{key}')
