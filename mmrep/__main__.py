"""``python -m mmrep`` is the command ``mmrep``, seconds later.

Python imports the package first, and with it PyTorch; ``mmrep`` does that only
for a command that needs it.
"""

from mmrep_cli import main

if __name__ == '__main__':
    main()
