"""Errors for users, and helpers for their messages."""

from typing import Any, Iterable


class UsageError(ValueError):
    """Something the user passed cannot be used.

    The message is one line: what must hold, what was given, what to do. The
    scripts in ``tools/`` print it and exit with a non-zero status.
    """


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as '1 class' or '2 classes'."""
    ending = 'es' if noun.endswith(('s', 'tch', 'nch', 'x')) else 's'
    return f'{count} {noun}{ending if count != 1 else ""}'


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
    text = ' '.join((text.partition('\n')[0] if first else text).split())
    return f'{name}: {text}' if kind else text or name
