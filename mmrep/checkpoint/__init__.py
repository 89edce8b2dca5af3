from mmrep.checkpoint.loading import (
    CheckpointError,
    check_file,
    enforce_safe_loading,
    get_state_dict,
    load_checkpoint,
)

__all__ = [
    'CheckpointError',
    'check_file',
    'enforce_safe_loading',
    'get_state_dict',
    'load_checkpoint',
]
