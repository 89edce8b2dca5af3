"""``python -m mmrep`` is the command ``mmrep``, but starts more slowly.

Python imports the package first, and with it PyTorch, whereas ``mmrep`` does
that only for a command that needs it.
"""

from mmrep_cli import main

if __name__ == '__main__':
    main()
