"""Re-parameterized large-kernel ConvNets for dense prediction.

Importing the package registers its models and hooks with MMEngine, and makes
mmcv's operators work if mmcv was not compiled. If only torch is installed,
:mod:`mmrep.ops` still works and nothing is registered.
"""

from importlib.util import find_spec
from typing import Any

from mmrep.version import __version__

if find_spec('mmengine') is not None and find_spec('mmcv') is not None:
    from mmrep.compat import install
    from mmrep.compat.configs import find_package_configs
    from mmrep.compat.noise import silence_prints

    silence_prints()
    install()
    find_package_configs()
    from mmrep import data, deploy, models, runner  # noqa: F401

__all__ = ['__version__', 'create_model', 'from_pretrained']


def __getattr__(name: str) -> Any:
    """Import what needs MMSegmentation when it is first used."""
    if name in ('create_model', 'from_pretrained'):
        from mmrep import apis

        return getattr(apis, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
