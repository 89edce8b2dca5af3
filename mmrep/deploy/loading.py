"""From a config and a checkpoint to a model that infers."""

import copy
import logging
from typing import Any, Dict, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmrep.checkpoint import check_fit, get_state_dict, load_checkpoint
from mmrep.deploy.form import to_deploy_form
from mmrep.deploy.inputs import inner_dataset
from mmrep.errors import UsageError, one_line


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model with random weights, in evaluation mode.

    Raises:
        UsageError: If the config has no model, or it cannot be built.
    """
    if not isinstance(cfg.get('model'), dict):
        raise UsageError('the config must define model.')
    # a backbone alone, such as mmseg.UNet, finds its parts in its own scope
    own, named, _ = str(cfg.model.get('type')).partition('.')
    scope = cfg.get('default_scope') or (own if named else 'mmengine')
    init_default_scope(scope)
    try:
        # MMDetection's DETRs write into what they are built from
        model = MODELS.build(copy.deepcopy(cfg.model))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            'the model of the config cannot be built: '
            f'{one_line(error, kind=True)}'
        ) from error
    model.cfg = cfg
    model.eval()  # which of MMDetection's backbones returns None
    return model


def model_kind(model: nn.Module) -> str:
    """'segmentor' or 'detector'.

    Raises:
        UsageError: If it is neither.
    """
    # by name, because MMDetection need not be installed
    bases = {base.__name__ for base in type(model).__mro__}
    for kind in ('segmentor', 'detector'):
        if f'Base{kind.title()}' in bases:
            return kind
    raise UsageError(
        'the model of the config must be a segmentor or a detector, got '
        f'{type(model).__name__}.'
    )


def load_model(
    cfg: Config,
    checkpoint: str,
    deploy: bool = False,
    device: str = 'cpu',
    trust: bool = False,
) -> nn.Module:
    """Build a config's model with a checkpoint's weights, to infer with.

    Args:
        cfg (Config): Config of a segmentor or detector, in either form.
        checkpoint (str): Path of a checkpoint with all of the model's
            parameters; what else it holds is named in the log.
        deploy (bool): Turn the model into its deploy form. Defaults to False.
        device (str): Where the model goes. Defaults to 'cpu'.
        trust (bool): Run code that the checkpoint may contain. Defaults to
            False.

    Returns:
        nn.Module: The model in evaluation mode, with ``cfg`` and
        ``dataset_meta`` (``classes`` and ``palette``).

    Raises:
        UsageError: If something that was given is missing or wrong.
    """
    loaded = load_checkpoint(checkpoint, trust=trust)
    model = build_model(cfg)
    state = get_state_dict(loaded)
    warning = check_fit(model, state)
    if warning is not None:
        print_log(warning, 'current', logging.WARNING)
    with torch.no_grad():
        model.load_state_dict(state, strict=False)
    model.dataset_meta = dataset_meta(cfg, loaded.get('meta') or {})
    if deploy:
        to_deploy_form(model)
    try:
        return model.to(device)
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f'the device {device!r} cannot be used: '
            f'{one_line(error, first=True)}'
        ) from error


def dataset_meta(cfg: Config, meta: Dict[str, Any]) -> Dict[str, Any]:
    """Names and colours of the classes.

    Args:
        cfg (Config): Config with a data set, as far as it has one.
        meta (dict): The checkpoint's 'meta', which goes before.

    Returns:
        dict: ``classes`` and ``palette``; an empty dict if nothing is known.
    """
    found = dict(meta.get('dataset_meta') or {})
    if 'CLASSES' in meta and not found:  # MMSegmentation 0.x, MMDetection 2.x
        found = dict(classes=meta['CLASSES'], palette=meta.get('PALETTE'))
    found = {
        # MMSegmentation 0.x makes up a palette as an array
        key.lower(): value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in found.items()
    }
    if not found.get('classes') or not found.get('palette'):
        found = {**found, **_config_meta(cfg, found)}
    if isinstance(found.get('palette'), (list, tuple)):
        # a merged file has lists, and MMDetection draws with tuples
        found['palette'] = [tuple(colour) for colour in found['palette']]
    return found


def _config_meta(cfg: Config, known: Dict[str, Any]) -> Dict[str, Any]:
    """What the config's data sets say and is not known yet."""
    dataset: Optional[dict] = None
    for name in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = inner_dataset(cfg, name)
        if dataset is not None:
            break
    if dataset is None:
        return {}
    declared = DATASETS.get(dataset.get('type'))
    meta = {
        **getattr(declared, 'METAINFO', {}),
        **(dataset.get('metainfo') or {}),
    }
    meta = {key.lower(): value for key, value in meta.items()}
    return {
        key: meta[key]
        for key in ('classes', 'palette')
        if meta.get(key) and not known.get(key)
    }
