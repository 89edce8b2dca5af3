"""A substitute for ``mmcv._ext``, mmcv's compiled operators.

:func:`install` puts a finder after all others on ``sys.meta_path``: it is
asked only if no compiled ``mmcv._ext`` was found, and loads nothing until that
module is imported. The module then has the operators that detectors and
segmentors of mmrep use. Every other name is a function that raises an error
when called, because importing ``mmcv.ops`` reads the names of all operators.
"""

import importlib
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, NoReturn, Optional, Sequence

NAME = 'mmcv._ext'
# operator -> the module here that has it
OPERATORS = {
    'nms': 'nms',
    'softnms': 'nms',
    'roi_align_forward': 'roi_align',
    'roi_align_backward': 'roi_align',
    'sigmoid_focal_loss_forward': 'focal_loss',
    'sigmoid_focal_loss_backward': 'focal_loss',
    'softmax_focal_loss_forward': 'focal_loss',
    'softmax_focal_loss_backward': 'focal_loss',
}


class Finder:
    """Finds and loads ``mmcv._ext`` if nothing else does."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Optional[Sequence[str]] = None,
        target: Optional[ModuleType] = None,
    ) -> Optional[ModuleSpec]:
        """Spec of the substitute, or None for any other module."""
        if fullname != NAME:
            return None
        return ModuleSpec(fullname, cls, origin=__name__)

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave the creation of the module to the import system."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Fill the module."""
        for name, home in OPERATORS.items():
            home = importlib.import_module(f'{__package__}.{home}')
            setattr(module, name, getattr(home, name))
        module.get_compiler_version = lambda: 'n/a'
        module.get_compiling_cuda_version = lambda: 'n/a'
        module.__getattr__ = _missing


def install() -> None:
    """Let ``import mmcv._ext`` find the substitute if nothing else exists."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)


def report() -> str:
    """A line for a log: the implementation of each mmcv operator."""
    ext = sys.modules.get(NAME)
    if ext is None:
        return 'mmcv operators: not loaded'
    if ext.__spec__ is None or ext.__spec__.origin != __name__:
        return f'mmcv operators: compiled, {getattr(ext, "__file__", NAME)}'
    from .torchvision import describe

    operators = ', '.join(f'{name}: {describe(name)}' for name in OPERATORS)
    return f'mmcv operators: not compiled, replaced by {operators}'


def _missing(name: str) -> Callable[..., NoReturn]:
    """Module-level ``__getattr__`` for operators without substitute."""
    if name.startswith('_'):
        raise AttributeError(f'module {NAME!r} has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        import mmcv

        package = 'onedl-mmcv' if find_distribution('onedl-mmcv') else 'mmcv'
        raise ImportError(
            f'{name!r} is an mmcv operator that mmrep has no substitute for. '
            'Compile mmcv for this PyTorch, with a C++ compiler and, for '
            'GPUs, nvcc: `pip install --force-reinstall --no-deps '
            '--no-cache-dir --no-build-isolation '
            f'{package}=={mmcv.__version__}`'
        )

    operator.__name__ = operator.__qualname__ = name
    return operator


def find_distribution(name: str) -> bool:
    """Whether a package is installed under this PyPI name."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
