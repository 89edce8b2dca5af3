"""``python -m mmrep`` is the command ``mmrep``."""

from mmrep_cli import main

if __name__ == '__main__':
    main()
