"""Reading checkpoints safely, and converting released ones."""

from mmrep.checkpoint.convert import (
    Conversion,
    Match,
    convert,
    dataset_meta_of,
    match,
    recognise,
    weights_of,
)
from mmrep.checkpoint.fit import check_fit
from mmrep.checkpoint.layouts import LAYOUTS, Released
from mmrep.checkpoint.loading import (
    CheckpointError,
    check_file,
    get_state_dict,
    load_checkpoint,
    register_loaders,
    safe_loaders,
)
from mmrep.checkpoint.pretrained import ReleasedInit, fit_pretrained

__all__ = [
    'LAYOUTS',
    'CheckpointError',
    'Conversion',
    'Match',
    'Released',
    'ReleasedInit',
    'check_file',
    'convert',
    'dataset_meta_of',
    'fit_pretrained',
    'check_fit',
    'get_state_dict',
    'load_checkpoint',
    'match',
    'recognise',
    'register_loaders',
    'safe_loaders',
    'weights_of',
]
