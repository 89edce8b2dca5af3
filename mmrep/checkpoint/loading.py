"""Read checkpoints without running code in them.

Released checkpoints come from file-sharing sites, and a pickle may name any
function to call. Files are read with ``weights_only=True`` and an allow-list
of what MMEngine writes besides tensors; anything else is refused.
"""

import os
import zipfile
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_http
from torch import Tensor

from mmrep.errors import UsageError, one_line

# Whether register_loaders was told to trust files, for pretrained backbones.
_trusts: ContextVar[bool] = ContextVar('_trusts', default=False)


# What torch is told about unpickling for the whole process: never, always.
_TORCH_VARIABLES = (
    'TORCH_FORCE_WEIGHTS_ONLY_LOAD',
    'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD',
)


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, unsafe or not what was expected."""


def _history_buffer_getattr(owner: Any, name: str) -> Any:
    """Replace ``getattr``, which MMEngine's log buffers need.

    Their pickles name the functions that summarise a buffer, and nothing else
    is returned.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')


def _allowed_globals() -> List[Tuple[Any, str]]:
    multiarray = getattr(np, '_core', None) or np.core
    multiarray = multiarray.multiarray
    allowed: List[Tuple[Any, str]] = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_history_buffer_getattr, 'builtins.getattr'),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
    ]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((multiarray._reconstruct, f'{module}._reconstruct'))
        allowed.append((multiarray.scalar, f'{module}.scalar'))
    for scalar in (
        np.bool_,
        np.int32,
        np.int64,
        np.uint8,
        np.uint32,
        np.float16,
        np.float32,
        np.float64,
    ):
        dtype = type(np.dtype(scalar))
        allowed.append((dtype, f'{dtype.__module__}.{dtype.__qualname__}'))
    return allowed


def check_file(filename: str) -> None:
    """Raise an error unless ``filename`` looks like a file of torch.

    Raises:
        CheckpointError: If the file does not exist, cannot be read, is empty,
            or is a web page.
    """
    path = Path(filename).expanduser()
    try:
        if not path.is_file():
            raise CheckpointError(
                f'the checkpoint must be an existing file, got {filename!r}.'
            )
        with path.open('rb') as file:
            head = file.read(512)
    except OSError as error:
        raise CheckpointError(
            f'the checkpoint {filename} cannot be read: '
            f'{error.strerror or error}.'
        ) from error
    if not head:
        raise CheckpointError(
            f'the checkpoint {filename} is empty; copy or download it again.'
        )
    if head.lstrip()[:1] == b'<':
        raise CheckpointError(
            f'the checkpoint {filename} is a web page, probably from a failed '
            'download; download it again in a browser.'
        )


def load_checkpoint(
    filename: str,
    map_location: Any = 'cpu',
    trust: bool = False,
    mmap: bool = False,
) -> Dict[str, Any]:
    """Read a checkpoint from a local file.

    Args:
        filename (str): Path of the file.
        map_location (str | Callable): As in :func:`torch.load`. Defaults to
            'cpu'.
        trust (bool): Unpickle everything, which runs any code that the file
            names. Defaults to False.
        mmap (bool): Leave tensors in the file until they are used, if its
            format allows that. Defaults to False.

    Returns:
        dict: What was saved.

    Raises:
        CheckpointError: If the file is missing or damaged, is not a
            checkpoint, or needs more than tensors, plain data and what
            MMEngine writes.
    """
    check_file(filename)
    path = Path(filename).expanduser()
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            checkpoint = torch.load(
                path,
                map_location=map_location,
                weights_only=not trust,
                mmap=mmap and zipfile.is_zipfile(path),
            )
    except UnpicklingError as error:
        if trust:
            raise CheckpointError(
                f'the checkpoint {filename} cannot be read: '
                f'{one_line(error, first=True)}'
            ) from error
        raise CheckpointError(
            f'the checkpoint {filename} was refused: it is damaged, or it '
            'holds more than tensors and plain data and could run code '
            f'({_refused_name(error)}). If you trust its source, pass '
            '--trust-checkpoint.'
        ) from error
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f'the checkpoint {filename} needs a class or function that is not '
            f'installed here ({one_line(error, first=True)}); install the '
            'package that has it, or save only the tensors on a machine '
            'where it is installed.'
        ) from error
    except Exception as error:  # bytes that are not a pickle may do anything
        raise CheckpointError(
            f'the checkpoint {filename} is damaged or not a PyTorch file '
            f'({one_line(error, kind=True, first=True)}); copy or '
            'download it again.'
        ) from error
    return _normalise(checkpoint, filename)


def _normalise(checkpoint: Any, filename: str) -> Dict[str, Any]:
    """Plain dicts, the tensors under 'state_dict', and no config text.

    A pickle can replace the methods of an OrderedDict by other allowed
    functions, so the items are read with dict's own methods. On resume
    MMEngine executes ``meta['config']``, so that is removed.
    """
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'the checkpoint {filename} must hold a dict of tensors, got '
            f'{type(checkpoint).__name__}.'
        )
    checkpoint = dict(dict.items(checkpoint))
    if 'meta' in checkpoint:
        if not isinstance(checkpoint['meta'], dict):
            raise CheckpointError(
                f'the checkpoint {filename} must hold a dict under "meta", '
                f'got {type(checkpoint["meta"]).__name__}.'
            )
        meta = dict(dict.items(checkpoint['meta']))
        meta.pop('config', None)
        checkpoint['meta'] = meta
    model = checkpoint.get('model')
    if 'state_dict' not in checkpoint and isinstance(model, dict):
        checkpoint['state_dict'] = checkpoint.pop('model')
    if not isinstance(checkpoint.get('state_dict', {}), dict):
        raise CheckpointError(
            f'the checkpoint {filename} must hold a dict of tensors under '
            f'"state_dict", got {type(checkpoint["state_dict"]).__name__}.'
        )
    return checkpoint


def _refused_name(error: BaseException) -> str:
    """The part of torch's long message that says what was refused."""
    for line in str(error).splitlines():
        for mark in ('GLOBAL ', 'Unsupported', 'getattr('):
            if mark in line:
                return line[line.index(mark) :].split(' was not ')[0].strip()
    return one_line(error, first=True)


def get_state_dict(checkpoint: Dict[str, Any]) -> Dict[str, Tensor]:
    """The tensors of a checkpoint, without DDP's ``module.`` prefix.

    Args:
        checkpoint (dict): What :func:`load_checkpoint` returns: tensors under
            'state_dict', or the tensors themselves.

    Returns:
        dict[str, Tensor]: Tensors by parameter name.
    """
    state = checkpoint.get('state_dict', checkpoint)
    return {
        key[len('module.') :] if key.startswith('module.') else key: value
        for key, value in dict.items(state)
        if isinstance(value, Tensor) and isinstance(key, str)
    }


def read(filename: str) -> Dict[str, Any]:
    """Read a checkpoint in the way that :func:`register_loaders` set up.

    Local files are read safely even if it was not called, as in
    MMSegmentation's own tools; MMEngine handles URLs there. Tensors stay in a
    local file until they are used, so reading only names and shapes is cheap.

    Args:
        filename (str): Path or URL of the file.

    Returns:
        dict: What was saved.
    """
    if '://' in filename:
        return CheckpointLoader.load_checkpoint(filename, 'cpu')
    return load_checkpoint(filename, trust=_trusts.get(), mmap=True)


@contextmanager
def safe_loaders(trust: Optional[bool] = None) -> Iterator[None]:
    """Apply :func:`register_loaders` for a while, then restore the state.

    Some models read a checkpoint while they are built, such as the teacher of
    a distillation.

    Args:
        trust (bool, optional): Unpickle everything. Defaults to None, which is
            what :func:`register_loaders` was told, or False.
    """
    schemes = CheckpointLoader._schemes.copy()
    variables = {name: os.environ.get(name) for name in _TORCH_VARIABLES}
    token = _trusts.set(_trusts.get())
    try:
        register_loaders(_trusts.get() if trust is None else trust)
        yield
    finally:
        _trusts.reset(token)
        CheckpointLoader._schemes = schemes
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def register_loaders(trust: bool = False) -> None:
    """Make MMEngine read checkpoints with :func:`load_checkpoint`.

    MMEngine's own loader retries with full unpickling when the safe way
    fails. From here on, torch refuses this for any caller in this process.
    MMEngine still downloads files from URLs, but they are read safely.

    Args:
        trust (bool): Unpickle everything instead. Defaults to False.
    """

    def load_local(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint(filename, map_location, trust)

    def load_url(filename: str, map_location: Any = None) -> dict:
        try:
            with torch.serialization.safe_globals(_allowed_globals()):
                checkpoint = load_from_http(filename, map_location)
        except (OSError, RuntimeError, UnpicklingError) as error:
            raise CheckpointError(
                f'the checkpoint {filename} cannot be downloaded or read '
                f'({one_line(error, first=True)}); give a local file, or set '
                'model.backbone.init_cfg=None to train without pretrained '
                'weights.'
            ) from error
        return _normalise(checkpoint, filename)

    _trusts.set(trust)
    CheckpointLoader.register_scheme('', load_local, force=True)
    if not trust:
        refuse, allow = _TORCH_VARIABLES
        os.environ.pop(allow, None)
        os.environ[refuse] = '1'
        for scheme in ('http://', 'https://'):
            CheckpointLoader.register_scheme(scheme, load_url, force=True)
