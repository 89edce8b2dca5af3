"""Let ``_base_ = 'mmrep::NAME.py'`` find the configs of this package."""

import difflib
from pathlib import Path
from typing import Optional, Tuple

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed

from mmrep.errors import UsageError
from mmrep_cli import config_names, shipped

_get_path_of_others = Config._get_cfg_path


def find_config(name: str) -> str:
    """The path of one of mmrep's configs, wherever mmrep is installed.

    Args:
        name (str): Its path in ``configs/``, such as
            'upernet_replknet31b_ade20k' or '_base_/datasets/ade20k.py', or one
            that begins with 'projects/'; ``.py`` is optional.

    Returns:
        str: The path.

    Raises:
        UsageError: If the config does not exist.
    """
    name = name.removesuffix('.py')
    folder = shipped('configs')
    root = folder.parent if name.startswith('projects/') else folder
    path = root / f'{name}.py'
    if not path.is_file():
        close = difflib.get_close_matches(Path(name).name, config_names(), 1)
        hint = f'did you mean {close[0]!r}?' if close else f'see {folder}.'
        raise UsageError(f'mmrep has no config {name!r}; {hint}')
    return str(path)


def find_package_configs() -> None:
    """Make MMEngine resolve ``mmrep::``, and ``mmseg::`` on the forks."""
    if not is_installed(MODULE2PACKAGE['mmseg']):
        # the fork's package has another name, but its module does not
        MODULE2PACKAGE['mmseg'] = 'mmseg'
    # MMEngine has a fixed list of packages, and requires a folder in the name
    Config._get_cfg_path = staticmethod(_get_cfg_path)


def _get_cfg_path(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
    package, _, name = cfg_path.partition('::')
    if package != 'mmrep':
        return _get_path_of_others(cfg_path, filename)
    # no default scope: our types name their own
    return find_config(name), None
