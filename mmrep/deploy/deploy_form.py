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
    """Merge and fold what can be, in place, for inference.

    Calls ``switch_to_deploy()`` of each part that has it, as mmrep's
    backbones do, :func:`mmrep.deploy.fuse_conv_bn`, and lets UPerHead
    compute with fewer multiplications on a CPU. The mode of the model stays
    what it was; a second call finds nothing to do.

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
    if 'mmseg' in sys.modules:  # else there is no such head
        from mmrep.deploy.uperhead import fuse_uper_heads

        fuse_uper_heads(model)
    model.train(training)  # which of MMDetection's backbones returns None
    return model


@MODELS.register_module(name='DeployForm')
def build_deploy_form(form_of: str, **model) -> nn.Module:
    """Build the deploy form of a model, for files that hold merged weights.

    In a config, ``model.type`` becomes 'mmrep.DeployForm' and
    ``model.form_of`` what it was; the rest stays.

    Args:
        form_of (str): Type of the model, such as 'EncoderDecoder'.
        **model: The arguments of that type.

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
    """A config of the deploy form, which inherits from none.

    Args:
        cfg (Config): Config of the training form.

    Returns:
        Config: The same with another ``model.type``; what the training
        started from is left out.
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
