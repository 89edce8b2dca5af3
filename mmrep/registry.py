"""Child registries of MMEngine's roots, scope ``mmrep``.

A root's children see each other by scope, so both MMSegmentation's and
MMDetection's configs can find ``type='mmrep.RepLKNet'``.
"""

from types import FunctionType
from typing import Any, Optional

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
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

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
