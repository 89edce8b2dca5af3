"""Errors for users, and helpers for their messages."""

import re
from typing import Any, Iterable, Optional

# PyTorch's error for two parts of a model that do not match.
_CHANNELS = re.compile(r'to have (\d+) channels, but got (\d+) channels')


class UsageError(ValueError):
    """Something the user passed cannot be used.

    The message is one line: what must hold, what was given, what to do. The
    scripts in ``tools/`` print it and exit with a non-zero status.
    """


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as '1 class' or '2 classes'."""
    ending = 'es' if noun.endswith(('s', 'tch', 'nch', 'x')) else 's'
    return f'{count} {noun}{ending if count != 1 else ""}'


def agreed(count: int, verbs: str) -> str:
    """The verb for a number, of two such as 'is are'."""
    return verbs.split()[count != 1]


def share(count: int, total: int, noun: str) -> str:
    """How many of several things, such as '1 of 12 images' or 'all images'.

    Args:
        count (int): How many of them.
        total (int): The number of all.
        noun (str): What they are, in the singular.
    """
    if count < total:
        return f'{count} of {counted(total, noun)}'
    return f'all {counted(total, noun)}' if total > 1 else f'the only {noun}'


def listed(values: Iterable[Any], most: int = 10) -> str:
    """Values with commas between them; of many, the first and their number."""
    words = [*map(str, values)]
    more = len(words) - most
    return ', '.join(words[:most]) + (f' and {more} more' * (more > 0))


def one_line(
    error: BaseException, kind: bool = False, first: bool = False
) -> str:
    """The text of an error, to be part of a line.

    Args:
        error (BaseException): The error. If it has no text, its type is named.
        kind (bool): Put the type in front. Defaults to False.
        first (bool): Keep only the first line; PyTorch adds advice or C++
            frames after it. Defaults to False.
    """
    name, text = type(error).__name__, str(error).strip()
    if len(error.args) > 1 and text == str(error.args):
        text = ': '.join(map(str, error.args))  # without Python's brackets
    text = ' '.join((text.partition('\n')[0] if first else text).split())
    return f'{name}: {text}' if kind else text or name


def explain_channels(error: BaseException, what: str) -> Optional[str]:
    """Explain that two layers do not match; None for another error.

    Args:
        error (BaseException): PyTorch's error.
        what (str): The layer, such as 'a layer of the model'.
    """
    found = _CHANNELS.search(str(error))
    if not found or not isinstance(error, RuntimeError):
        return None
    takes, gets = found.groups()
    return (
        f'{what} takes {takes} channels but gets {gets}: in_channels of the '
        'neck and of the heads must match the channels of the layer before'
    )
