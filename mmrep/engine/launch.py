"""From a config to a runner that is ready to train or test."""

import logging
import traceback
from typing import Any, Callable, Optional

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmrep.checkpoint import check_file, enforce_safe_loading
from mmrep.engine.distributed import init_distributed
from mmrep.engine.norms import SingleImageBatchNorm
from mmrep.errors import UsageError
from mmrep.ops import backend_report


def build_runner(
    cfg: Config,
    mode: str,
    launcher: str = 'none',
    trust_checkpoint: bool = False,
) -> Runner:
    """Build what a run needs, so that a wrong config fails before it starts.

    Args:
        cfg (Config): Config of the run, with ``work_dir``; ``load_from`` and
            ``resume`` say what is loaded.
        mode (str): 'train' or 'test'.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to
            'none'.
        trust_checkpoint (bool): Load checkpoints as MMEngine does, running
            code that they contain. Defaults to False.

    Returns:
        Runner: Call its ``train()`` or ``test()``.

    Raises:
        UsageError: If something that the user gave is missing or wrong.
    """
    needed = [cfg.get('load_from')]
    if mode == 'train' and not cfg.get('resume'):
        needed.append(_pretrained(cfg))
    for filename in needed:
        if filename and '://' not in filename:
            check_file(filename)
    if not trust_checkpoint:
        enforce_safe_loading()
    hooks = list(cfg.get('custom_hooks') or [])
    strict = mode == 'test' or bool(cfg.get('resume'))
    hooks.append(dict(type='mmrep.CheckpointGuardHook', strict=strict))
    cfg.custom_hooks = hooks
    init_distributed(cfg, launcher)
    runner = _build('model, hooks', lambda: Runner.from_cfg(cfg))
    runner.logger.info(backend_report())
    if mode == 'train':
        _build('train_dataloader, train_cfg', lambda: runner.train_loop)
        optimizer = cfg.optim_wrapper.get('optimizer', {}).get('type')
        runner.optim_wrapper = _build(
            f'optim_wrapper, with optimizer {optimizer}',
            lambda: runner.build_optim_wrapper(runner.optim_wrapper),
        )
        _build('val_dataloader, val_cfg', lambda: runner.val_loop)
        if _log_batch_size(runner) == 1:
            SingleImageBatchNorm.convert(runner.model)
    else:
        _build('test_dataloader, test_cfg', lambda: runner.test_loop)
    return runner


def _pretrained(cfg: Config) -> Optional[str]:
    """The file that the backbone starts from, if one is configured."""
    model = cfg.model
    model = model.get('module', model)
    init_cfg = model.get('backbone', {}).get('init_cfg') or {}
    return init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None


def _build(part: str, build: Callable[[], Any]) -> Any:
    """Call ``build``; tell the user when the config is what is wrong."""
    try:
        return build()
    except UsageError:
        raise
    except (TypeError, KeyError, ValueError) as error:
        print_log(
            traceback.format_exc(), logger='current', level=logging.DEBUG
        )
        text = ' '.join(str(arg) for arg in error.args)
        if text == 'need at least one array to concatenate':
            # how MMEngine's datasets fail when they are empty
            text = (
                'the data set found no images; check data_prefix, '
                'img_suffix and ann_file'
            )
        raise UsageError(
            f'the config cannot be built ({part}): '
            f'{type(error).__name__}: {text} '
            '(log_level=DEBUG shows the traceback).'
        ) from error


def _log_batch_size(runner: Runner) -> int:
    """Say which total batch the recipe assumes; return what this run has."""
    per_process = runner.train_dataloader.batch_size
    total = per_process * runner.world_size
    text = f'total batch size {total} ({runner.world_size} x {per_process})'
    scaling = runner.auto_scale_lr or {}
    assumed = scaling.get('base_batch_size')
    if assumed is not None and assumed != total:
        text += f', the recipe assumes {assumed}; ' + (
            'the learning rate is scaled'
            if scaling.get('enable')
            else 'the learning rate is not scaled '
            '(--auto-scale-lr does it) and the number of samples is '
            f"{total / assumed:g} times the recipe's"
        )
    runner.logger.info(text)
    return total
