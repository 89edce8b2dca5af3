class UsageError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what must hold, what came, what to do. The
    scripts in ``tools/`` print it and exit with a non-zero status.
    """
