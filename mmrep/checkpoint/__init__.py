from mmrep.checkpoint.loading import (
    CheckpointError,
    check_file,
    get_state_dict,
    load_checkpoint,
    register_loaders,
)

__all__ = [
    'CheckpointError',
    'check_file',
    'get_state_dict',
    'load_checkpoint',
    'register_loaders',
]
