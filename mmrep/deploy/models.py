"""Build a model for inference from a config and a checkpoint."""

import copy
import logging

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmrep.checkpoint import (
    check_fit,
    get_state_dict,
    load_checkpoint,
    safe_loaders,
)
from mmrep.data.datasets import dataset_meta
from mmrep.data.heads import check_maps
from mmrep.deploy.deploy_form import to_deploy_form
from mmrep.errors import UsageError, one_line
from mmrep.registry import failure_of


def build_model(cfg: Config, meta: bool = False) -> nn.Module:
    """Build a config's model with random weights, in evaluation mode.

    Checkpoints that a model reads while it is built, such as the teacher of a
    distillation, are read safely.

    Args:
        cfg (Config): Config of a segmentor, a detector, a classifier or a
            backbone under ``model``.
        meta (bool): Build it on PyTorch's meta device, where parameters have
            shapes and no values, so even the largest model takes seconds and
            no memory. Defaults to False.

    Returns:
        nn.Module: The model, with ``cfg``.

    Raises:
        UsageError: If the config has no model, it cannot be built, or heads
            take maps that there are not.
    """
    if not isinstance(cfg.get('model'), dict):
        raise UsageError('the config must define model.')
    # a single backbone, such as mmseg.UNet, finds its parts in its own scope
    own, named, _ = str(cfg.model.get('type')).partition('.')
    scope = cfg.get('default_scope') or (own if named else 'mmengine')
    init_default_scope(scope)
    try:
        with safe_loaders():
            model = _build_on_meta(cfg.model) if meta else _build(cfg.model)
    except UsageError:
        raise
    except Exception as error:
        place, text = failure_of(error, cfg, ['model'])
        raise UsageError(
            f'the model of the config cannot be built ({place}): {text}'
        ) from error
    check_maps(model)
    model.cfg = cfg
    model.eval()  # which returns None for MMDetection's backbones
    return model


def _build(model: dict) -> nn.Module:
    # MMDetection's DETRs modify the config that they are built from
    return MODELS.build(copy.deepcopy(model))


def _build_on_meta(model: dict) -> nn.Module:
    try:
        with torch.device('meta'):
            built = _build(model)
    except (NotImplementedError, RuntimeError):
        # some constructors read the values of a tensor
        built = _build(model)
    # torch.Tensor(...) does not use the device above
    return built.to('meta')


def model_kind(model: nn.Module) -> str:
    """'segmentor' or 'detector'.

    Raises:
        UsageError: If it is neither.
    """
    # by name, because MMDetection may not be installed
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
    """Build a config's model with a checkpoint's weights, for inference.

    Args:
        cfg (Config): Config of a segmentor or detector, in either form.
        checkpoint (str): Path of a checkpoint with all of the model's
            parameters; the log names anything else that it holds.
        deploy (bool): Turn the model into its deploy form. Defaults to False.
        device (str): Device of the model. Defaults to 'cpu'.
        trust (bool): Run code that the checkpoint may contain. Defaults to
            False.

    Returns:
        nn.Module: The model in evaluation mode, with ``cfg`` and
        ``dataset_meta`` (``classes`` and ``palette``).

    Raises:
        UsageError: If an argument is wrong or a file is missing.
    """
    loaded = load_checkpoint(checkpoint, trust=trust)
    with safe_loaders(trust):
        model = build_model(cfg)
    state = get_state_dict(loaded)
    warning = check_fit(model, state)
    if warning is not None:
        print_log(warning, 'current', logging.WARNING)
    with torch.no_grad():
        model.load_state_dict(state, strict=False)
    model.dataset_meta = dataset_meta(cfg, loaded)
    if deploy:
        to_deploy_form(model)
    try:
        return model.to(device)
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f'the device {device!r} cannot be used: '
            f'{one_line(error, first=True)}'
        ) from error
