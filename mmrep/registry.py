"""Child registries of MMEngine's roots, scope ``mmrep``.

A root's children see each other by scope, so both MMSegmentation's and
MMDetection's configs can find ``type='mmrep.RepLKNet'``.
"""

import inspect
import traceback
from pathlib import Path
from types import FunctionType
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple

import mmengine.registry
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_INITIALIZERS
from mmengine.registry import Registry, build_from_cfg
from mmengine.utils import get_object_from_string

from mmrep.errors import one_line

_ROOTS = [r for r in vars(mmengine.registry).values() if type(r) is Registry]

# Backbones, the classifier around one, and builders of models in deploy form
# or from an exported file.
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmrep',
    locations=['mmrep.models', 'mmrep.deploy', 'mmrep.deploy.runtime'],
)
# Hooks that the tools add to a run.
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmrep', locations=['mmrep.runner']
)
# Wrappers of a model for several processes.
MODEL_WRAPPERS = Registry(
    'model_wrapper',
    parent=MMENGINE_MODEL_WRAPPERS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
# Initializers, which read the file that a backbone starts from.
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=MMENGINE_INITIALIZERS,
    scope='mmrep',
    locations=['mmrep.checkpoint'],
)
# Constructors that group parameters for the optimizer.
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
# ImageNet as folders, for the evaluation of classifiers.
DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='mmrep',
    locations=['mmrep.data'],
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='mmrep',
    locations=['mmrep.data'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmrep',
    locations=['mmrep.data', 'mmrep.data.iou'],
)
# Samplers, which order the samples.
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
# Loops, optimizer wrappers and runners.
LOOPS = Registry(
    'loop', parent=MMENGINE_LOOPS, scope='mmrep', locations=['mmrep.runner']
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
RUNNERS = Registry(
    'runner',
    parent=MMENGINE_RUNNERS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
# What a run writes besides its checkpoints.
VISBACKENDS = Registry(
    'vis_backend',
    parent=MMENGINE_VISBACKENDS,
    scope='mmrep',
    locations=['mmrep.runner'],
)
# How a model too large for one GPU is split.
STRATEGIES = Registry(
    'strategy',
    parent=MMENGINE_STRATEGIES,
    scope='mmrep',
    locations=['mmrep.runner'],
)


def type_name(part: Optional[dict]) -> str:
    """The type of a part of a config, or '' if it has none.

    It may also be a class, which is then named as a string would name it, by
    its package and its name.
    """
    kind: Any = (part or {}).get('type') or ''
    if isinstance(kind, str):
        return kind
    return f'{kind.__module__.partition(".")[0]}.{kind.__name__}'


def name_types(node: Any, scope: str) -> None:
    """Replace classes by their names, as types in MMEngine's new configs.

    The written config can then be read again, and libraries that look for a
    name find it. A class that is not registered stays.

    Args:
        node (Any): A config or a part of one, changed in place.
        scope (str): Scope in which names without one are looked up first.
    """
    if isinstance(node, (list, tuple)):
        for value in node:
            name_types(value, scope)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key != 'type':
            name_types(value, scope)
            continue
        if isinstance(value, str) and value.count('.') > 1:
            # MMEngine writes classes like this into work dirs
            value = get_object_from_string(value)
        if isinstance(value, (type, FunctionType)):
            node[key] = _registered_name(value, scope) or value


def _registered_name(kind: Any, scope: str) -> Optional[str]:
    """The shortest name by which registries find a class."""
    package = kind.__module__.partition('.')[0]
    for name in (kind.__name__, f'{package}.{kind.__name__}'):
        for root in _ROOTS:
            if root.children.get(scope, root).get(name) is kind:
                return name
    return None


def check_keywords(kind: type, names: Iterable[str]) -> None:
    """Refuse unknown keywords of a constructor that accepts all of them.

    Args:
        kind (type): The class.
        names (Iterable[str]): The keywords.

    Raises:
        TypeError: If the constructor has no such argument; the text is
            Python's.
    """
    for name in names:
        if name not in inspect.signature(kind).parameters:
            raise TypeError(
                f'{kind.__name__}.__init__() got an unexpected keyword '
                f'argument {name!r}'
            )


def failure_of(
    error: Exception, cfg: Dict[str, Any], keys: Sequence[str]
) -> Tuple[str, str]:
    """Find the part of a config that cannot be built, and the reason.

    Args:
        error (Exception): The error while building.
        cfg (dict): The config.
        keys (Sequence[str]): The top-level keys that were built.

    Returns:
        tuple[str, str]: The key of the innermost part that failed, or '' if
            none is found, and the error as part of a line.
    """
    built = {key: cfg.get(key) for key in keys}
    place, node = '', built
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is build_from_cfg.__code__:
            part = frame.f_locals['cfg']
            found = _find_part(part, node, place) or _find_part(part, built)
            place, node = found or (place, node)
        elif frame.f_code.co_name == 'build_dataloader':
            # called by loops, but not part of their config
            place, node = keys[0], built[keys[0]]
    return place, reason_of(error)


def reason_of(error: BaseException) -> str:
    """What an error says, as part of a line, with a hint if it is known."""
    text = one_line(error, kind=True)
    unknown = ''
    if 'registry. Please check whether' in text:
        # MMEngine's advice is long
        unknown = str(error.args[0]).partition('. Please check')[0]
    elif 'Cannot find None in registry' in text:
        # mmcv names neither the norm nor its kind
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        name = frame.f_locals.get('layer_type', 'a layer')
        unknown = f'{name} is not in the model registry'
    if unknown:
        text = (
            f'{unknown}: it is misspelt, or custom_imports does not import it'
        )
    elif "unexpected keyword argument 'pretrained'" in text:
        # an older segmentor or detector hands it on to its backbone
        text += '; write pretrained=None beside the backbone, not in it'
    elif 'unexpected keyword argument' in text:
        text += (
            '; it is misspelt, or comes from a base: then write '
            '_delete_=True beside the type'
        )
    elif not str(error).strip():
        # of an assertion, which shows what was expected
        last = traceback.extract_tb(error.__traceback__)[-1]
        text += f'{last.line} ({Path(last.filename).name})'
    return text


def _find_part(
    part: Dict[str, Any], node: Any, place: str = ''
) -> Optional[Tuple[str, dict]]:
    """The first place at or below a node with the part that was built.

    Constructors add keys before they build a part, and remove some.
    """
    items: Any = ()
    if isinstance(node, dict):
        same = 'type' in node and node['type'] == part.get('type')
        if same and all(part.get(k, v) == v for k, v in node.items()):
            return place, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        found = _find_part(part, value, f'{place}.{key}'.lstrip('.'))
        if found:
            return found
    return None
