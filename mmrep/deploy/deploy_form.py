"""The deploy form of a whole model, and how a config names it."""

import copy
import sys

from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmrep.deploy.fuse import fuse_conv_bn
from mmrep.registry import MODELS

DEPLOY_FORM = 'mmrep.DeployForm'


def to_deploy_form(model: nn.Module) -> nn.Module:
    """Merge and fold everything possible, in place, for inference.

    It calls ``switch_to_deploy()`` of each part that has it, such as mmrep's
    backbones, calls :func:`mmrep.deploy.fuse_conv_bn`, and makes UPerHead
    compute with fewer multiplications on a CPU. The mode of the model does not
    change; a second call does nothing.

    Args:
        model (nn.Module): A segmentor, a detector or a part of one.

    Returns:
        nn.Module: The same model.
    """
    training = model.training
    model.eval()
    for module in list(model.modules()):
        if callable(getattr(module, 'switch_to_deploy', None)):
            module.switch_to_deploy()
    fuse_conv_bn(model)
    if 'mmseg' in sys.modules:  # otherwise there is no such head
        from mmrep.deploy.uperhead import fuse_uper_heads

        fuse_uper_heads(model)
    model.train(training)  # which returns None for MMDetection's backbones
    return model


@MODELS.register_module(name='DeployForm')
def build_deploy_form(form_of: str, **model) -> nn.Module:
    """Build the deploy form of a model, for files that hold merged weights.

    In a config, ``model.type`` becomes 'mmrep.DeployForm' and
    ``model.form_of`` gets the old type; the rest stays.

    Args:
        form_of (str): Type of the model, such as 'EncoderDecoder'.
        **model: Arguments of that type.

    Returns:
        nn.Module: A model of that type, in deploy form.
    """
    return to_deploy_form(ROOT_MODELS.build(dict(type=form_of, **model)))


def is_deploy_config(cfg: Config) -> bool:
    """Whether a config's model is in deploy form."""
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {}
    return model.get('type') == DEPLOY_FORM or bool(backbone.get('deploy'))


def deploy_config(cfg: Config) -> Config:
    """A config of the deploy form, which inherits from no file.

    Args:
        cfg (Config): Config of the training form.

    Returns:
        Config: The same with another ``model.type``, and without the weights
            that training started from.
    """
    cfg = copy.deepcopy(cfg)
    model = dict(type=DEPLOY_FORM, form_of=cfg.model.pop('type'))
    cfg.model = {**model, **cfg.model}
    pending = [cfg.model]
    while pending:
        node = pending.pop()
        if 'checkpoint' in (node.get('init_cfg') or {}):
            node['init_cfg'] = None
        if node.get('pretrained') is not None:
            node['pretrained'] = None
        pending.extend(v for v in node.values() if isinstance(v, dict))
    cfg.load_from = None
    cfg.resume = False
    return cfg
