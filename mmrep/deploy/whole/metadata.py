"""The metadata of an exported file: its input and its model."""

import json
from typing import Any, Dict, Optional

from mmengine.config import Config

from mmrep.data.datasets import first_dataset
from mmrep.deploy.deploy_form import DEPLOY_FORM
from mmrep.deploy.whole.picture import WholeModel
from mmrep.registry import type_name


def describe_input(cfg: Config, meta: Dict[str, Any]) -> Dict[str, str]:
    """Metadata for users of a file: normalisation, names of classes.

    Args:
        cfg (Config): Config of the model.
        meta (dict): Its ``dataset_meta``.

    Returns:
        dict[str, str]: Short texts; lists are JSON.
    """
    known = cfg.model.get('data_preprocessor') or {}
    count = (cfg.model.get('backbone') or {}).get('in_channels', 3)
    swapped = known.get('bgr_to_rgb') or known.get('rgb_to_bgr')
    order = 'RGB' if swapped else 'BGR'
    text = dict(
        channels=order if count == 3 else str(count),
        mean=json.dumps(list(known.get('mean') or [0.0] * count)),
        std=json.dumps(list(known.get('std') or [1.0] * count)),
    )
    for key in ('classes', 'palette'):
        if meta.get(key):
            text[key] = json.dumps(meta[key])
    return text


def describe_whole(
    cfg: Config, meta: Dict[str, Any], module: WholeModel
) -> Dict[str, str]:
    """The metadata of the file of a whole model.

    Args:
        cfg (Config): Config of the model.
        meta (dict): Its ``dataset_meta``.
        module (WholeModel): The exported module.

    Returns:
        dict[str, str]: The keys of :func:`describe_input`; ``model``, the kind
            of config it belongs to; ``input``; ``scale`` (width, height),
            ``keep_ratio`` and ``divisor``, how the test pipeline resizes;
            ``other_steps``, the names of its steps that these do not say;
            ``decisions``, such as thresholds.
    """
    text = describe_input(cfg, meta)
    text.update(
        model=model_of(cfg),
        input=module.input,
        decisions=json.dumps(module.decisions),
        **_resizing(cfg),
    )
    if module.channels != 3:
        text['channels'] = str(module.channels)
    elif module.input != 'normalised':
        text['channels'] = 'RGB' if module.rgb else 'BGR'
    return text


def model_of(cfg: Config) -> str:
    """The kind of a config's model, which is the same for both forms."""
    model = cfg.model
    kind = type_name(model)
    if kind == DEPLOY_FORM:
        kind = model['form_of']
    names = [kind.rpartition('.')[2], _short(model.get('backbone'))]
    roi_head = model.get('roi_head') or {}
    head: Any = roi_head.get('bbox_head') or {}
    for key in ('decode_head', 'bbox_head'):
        head = model.get(key) or head
    head = head[-1] if isinstance(head, (list, tuple)) else head
    names.append(_short(head))
    return f'{", ".join(names)}, {head.get("num_classes")} classes'


def _short(part: Optional[dict]) -> str:
    return type_name(part or {}).rpartition('.')[2]


def _resizing(cfg: Config) -> Dict[str, str]:
    """How the test pipeline resizes, if it does, and what else it does."""
    text = dict(divisor='1')
    others = []
    pipeline = (first_dataset(cfg, 'test_dataloader') or {}).get('pipeline')
    for step in pipeline or []:
        name = _short(step)
        if name == 'Resize' and step.get('scale'):
            scale = step['scale']
            sides = [scale] * 2 if isinstance(scale, int) else list(scale)
            text['scale'] = json.dumps(sides)
            text['keep_ratio'] = json.dumps(bool(step.get('keep_ratio')))
        elif name == 'ResizeToMultiple':
            text['divisor'] = str(step.get('size_divisor', 32))
        elif not name.startswith(('Load', 'Pack')):
            others.append(name)
    if others:
        text['other_steps'] = json.dumps(others)
    return text
