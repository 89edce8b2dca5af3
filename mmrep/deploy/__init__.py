"""Turn a trained model into one for inference: merge, fold, export."""

from mmrep.deploy.deploy_form import to_deploy_form
from mmrep.deploy.fuse import fuse_conv_bn
from mmrep.deploy.merge import reparameterize
from mmrep.deploy.models import build_model, load_model

__all__ = [
    'build_model',
    'fuse_conv_bn',
    'load_model',
    'reparameterize',
    'to_deploy_form',
]
