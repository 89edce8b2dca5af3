"""Model folders that others can load without running their contents.

The config is JSON and never executed. The classes it names must be registered,
and it must not name files, so only mmrep and OpenMMLab's packages run, with
the numbers in the folder.
"""

import json
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import mmcv.ops
import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from mmrep.errors import UsageError, one_line
from mmrep.files import as_path, replaced
from mmrep.version import __version__

_FILES = ('README.md', 'config.json', 'model.safetensors')
_WORDS = re.compile(r'[\w .,+-]*')
_SUFFIXES = ('.json', '.pkl', '.pt', '.pth', '.py', '.yaml', '.yml')
_CARD = """---
library_name: mmrep
pipeline_tag: {task}
---

# {name}

{kind} of {method}, saved by mmrep {version}; {classes}

```python
import mmrep

model = mmrep.from_pretrained('path/of/this/folder')
```

`model.safetensors` holds the weights, and `config.json` the config and the
classes. Nothing in this folder is executed.
"""


def save_folder(
    folder: str,
    model: nn.Module,
    cfg: Config,
    classes: Optional[Sequence[str]],
) -> None:
    """See :meth:`mmrep.apis.create.Segmentor.save_pretrained`."""
    save_model, _ = _safetensors()
    check_config(cfg.to_dict().get('model'))
    out = as_path(folder, 'the folder of a model')
    if out.exists() and not out.is_dir():
        raise UsageError(f'{out} must be a folder, but is a file.')
    is_new = not out.exists()
    content = dict(
        mmrep=__version__,
        classes=None if classes is None else list(classes),
        config=_mark_tuples(cfg.to_dict()),
    )
    segments = cfg.get('default_scope') == 'mmseg'
    card = _CARD.format(
        task='image-segmentation' if segments else 'object-detection',
        name=out.resolve().name,
        kind='Segmentor' if segments else 'Detector',
        method=cfg.model.type,
        version=__version__,
        classes='its classes: ' + ', '.join(classes) + '.'
        if classes
        else 'the names of its classes are not known.',
    )
    try:
        with ExitStack() as stack:  # all three files, or none
            readme, config, weights = (
                stack.enter_context(replaced(out / name)) for name in _FILES
            )
            readme.write_text(card, encoding='utf-8')
            config.write_text(
                json.dumps(content, indent=1) + '\n', encoding='utf-8'
            )
            try:
                save_model(model, str(weights), metadata=dict(format='pt'))
            except Exception as error:  # safetensors has its own errors
                raise UsageError(
                    f'{out} cannot be written: {one_line(error)}.'
                ) from error
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                out.rmdir()


def read_folder(folder: str) -> Tuple[Config, Optional[Sequence[str]], Path]:
    """The config, the classes, and the file of the weights.

    Raises:
        UsageError: If mmrep did not save the folder, or its config names
            something that is not allowed.
    """
    folder = as_path(folder, 'the folder of a model')
    paths = [folder / name for name in _FILES[1:]]
    for path in paths:
        if not path.is_file():
            raise UsageError(
                f"a model's folder must have {path.name}, and {folder} does "
                'not; save_pretrained() writes it.'
            )
    try:
        content = json.loads(paths[0].read_text(encoding='utf-8'))
        config = _unmark_tuples(content['config'])
        classes = content['classes']
        if not isinstance(config, dict) or type(classes) not in (
            list,
            type(None),
        ):
            raise TypeError('config must be a dict, classes a list or null')
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f'{paths[0]} is not what save_pretrained() writes: '
            f'{one_line(error, kind=True)}.'
        ) from error
    check_config(config.get('model'))
    return Config(config), classes, paths[1]


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the file of a folder; every parameter must be in it.

    Raises:
        UsageError: If it does not fit, or cannot be read.
    """
    _, load_model = _safetensors()
    try:
        load_model(model, str(path))
    except Exception as error:  # safetensors has its own errors
        raise UsageError(
            f'{path} cannot be loaded: {one_line(error)}.'
        ) from error


def check_config(node: Any, key: str = 'model') -> None:
    """Check that a model's config can do nothing but build modules.

    MMEngine imports what a ``type`` with dots names, mmcv evaluates the type
    of an NMS, and some models evaluate other arguments or read files that
    these name, including configs and pickles.

    Raises:
        UsageError: If a type is not registered, or a value names a file or
            holds more than numbers and words.
    """
    if isinstance(node, dict):
        for name, value in node.items():
            place = f'{key}.{name}'
            if name == 'type':
                _check_type(place, value)
            else:
                check_config(value, place)
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            check_config(value, f'{key}.{i}')
    elif isinstance(node, str):
        if not _WORDS.fullmatch(node) or node.endswith(_SUFFIXES):
            raise UsageError(
                f'{key} must be plain words that do not name a file in a '
                f'model to be shared, got {node!r}.'
            )
    elif not isinstance(node, (bool, int, float, type(None))):
        raise UsageError(f'{key} must be plain data, got {node!r}.')


def _check_type(key: str, name: Any) -> None:
    if name in mmcv.ops.__all__:  # RoIAlign, nms
        return
    roots = [
        root
        for root in vars(mmengine.registry).values()
        if isinstance(root, Registry)
    ]
    scope, _, bare = str(name).rpartition('.')
    for root in roots:
        for registry in (root, *root.children.values()):
            registry.import_from_location()
            if scope in ('', registry.scope) and bare in registry.module_dict:
                return
    raise UsageError(
        f'{key} must be the name of a registered class, got {name!r}.'
    )


def _mark_tuples(node: Any) -> Any:
    """Mark tuples, because JSON has only lists and some transforms differ.

    Only the model is built from a folder; the rest of the config is for
    reading.
    """
    if isinstance(node, dict):
        return {key: _mark_tuples(value) for key, value in node.items()}
    if isinstance(node, tuple):
        return dict(__tuple__=[_mark_tuples(value) for value in node])
    if isinstance(node, list):
        return [_mark_tuples(value) for value in node]
    return node if isinstance(node, (int, float, type(None))) else str(node)


def _unmark_tuples(node: Any) -> Any:
    if isinstance(node, dict):
        if node.keys() == {'__tuple__'}:
            return tuple(_unmark_tuples(v) for v in node['__tuple__'])
        return {key: _unmark_tuples(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unmark_tuples(value) for value in node]
    return node


def _safetensors() -> Any:
    try:
        from safetensors.torch import load_model, save_model
    except ImportError as error:
        raise UsageError(
            'model folders need safetensors: pip install safetensors.'
        ) from error
    return save_model, load_model
