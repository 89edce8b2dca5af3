"""Errors of the user, and the words that lines for users share."""


class UsageError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what must hold, what came, what to do. The
    scripts in ``tools/`` print it and exit with a non-zero status.
    """


def counted(count: int, noun: str) -> str:
    """A number and what is counted: '1 class', '2 classes'."""
    ending = 'es' if noun.endswith(('s', 'ch', 'x')) else 's'
    return f'{count} {noun}{ending if count != 1 else ""}'


def one_line(
    error: BaseException, kind: bool = False, first: bool = False
) -> str:
    """The text of an error as a part of a line.

    Args:
        error (BaseException): The error. One without a text is told by its
            type.
        kind (bool): Name the type in front. Defaults to False.
        first (bool): Leave out all but the first line, behind which PyTorch
            gives advice or the frames of C++. Defaults to False.
    """
    name, text = type(error).__name__, str(error).strip()
    text = ' '.join((text.partition('\n')[0] if first else text).split())
    return f'{name}: {text}' if kind else text or name
