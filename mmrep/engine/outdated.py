"""Configs for MMSegmentation 0.x and MMDetection 2.x."""

from typing import List

from mmengine.config import Config

from mmrep.errors import UsageError

# Keys of MMCV 1.x, which no run reads any more, and their replacements.
_OLD_KEYS = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'evaluation': 'train_cfg.val_interval, val_evaluator and test_evaluator',
    'log_config': 'default_hooks.logger and visualizer',
    'lr_config': 'param_scheduler',
    'optimizer_config': 'optim_wrapper',
    'total_epochs': 'train_cfg.max_epochs',
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_age(cfg: Config) -> List[str]:
    """Recognise configs of MMCV 1.x, and name leftover keys.

    Returns:
        list[str]: What the user should know.

    Raises:
        UsageError: If the whole config has the old form.
    """
    old = [key for key in _OLD_KEYS if key in cfg]
    if 'data' in old and not isinstance(cfg.data, dict):
        old.remove('data')  # a variable of that name
    if not old:
        return []
    text = '; '.join(f'{key} is now {_OLD_KEYS[key]}' for key in old)
    if not any(cfg.get(key) for key in LOADERS):
        raise UsageError(
            'the config must be in the form that MMSegmentation 1.x and '
            f'MMDetection 3.x read, but is in that of 0.x and 2.x: {text}. '
            'docs/migrating.md says how to convert it.'
        )
    return [f'these keys of 0.x and 2.x have no effect: {text}']
