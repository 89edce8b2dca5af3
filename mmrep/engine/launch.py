"""From a config to a runner that is ready to train or test."""

import logging
import traceback
from typing import Any, Callable

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmrep.checkpoint import (
    CheckpointError,
    check_file,
    fit_pretrained,
    get_state_dict,
    load_checkpoint,
    register_loaders,
)
from mmrep.compat import report as operator_report
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
    if cfg.get('load_from') and '://' not in cfg.load_from:
        check_file(cfg.load_from)
    register_loaders(trust_checkpoint)
    resume = bool(cfg.get('resume'))
    hook = dict(
        type='mmrep.CheckpointGuardHook',
        strict=mode == 'test' or resume,
        resume=resume,
    )
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    if mode == 'train' and cfg.get('optim_wrapper') is None:
        raise UsageError('the config must define optim_wrapper.')
    init_distributed(cfg, launcher)
    from_cfg = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = _build('model, hooks', lambda: from_cfg(cfg))
    runner.logger.info(backend_report())
    runner.logger.info(operator_report())
    if mode == 'test':
        _build('test_dataloader, test_cfg', lambda: runner.test_loop)
        return runner
    if not resume:
        _check_pretrained(runner, trust_checkpoint)
    _build('train_dataloader, train_cfg', lambda: runner.train_loop)
    optimizer = cfg.optim_wrapper.get('optimizer', {}).get('type')
    runner.optim_wrapper = _build(
        f'optim_wrapper, with optimizer {optimizer}',
        lambda: runner.build_optim_wrapper(runner.optim_wrapper),
    )
    _build('val_dataloader, val_cfg', lambda: runner.val_loop)
    if _log_batch_size(runner) == 1:
        SingleImageBatchNorm.convert(runner.model)
    return runner


def _check_pretrained(runner: Runner, trust: bool) -> None:
    """Check that the file the backbone starts from has parameters of it."""
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    backbone = getattr(model, 'backbone', None)
    init_cfg = getattr(backbone, 'init_cfg', None)
    if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
        return
    filename = init_cfg['checkpoint']
    if '://' in filename:
        return
    if init_cfg.get('_scope_') == 'mmrep':
        fit_pretrained(backbone, filename, init_cfg.get('prefix'))
        return
    found = get_state_dict(load_checkpoint(filename, trust=trust))
    prefix = (init_cfg.get('prefix') or '').rstrip('.')
    prefix = f'{prefix}.' if prefix else ''
    if not any(
        prefix + key in found and found[prefix + key].shape == value.shape
        for key, value in backbone.state_dict().items()
    ):
        raise CheckpointError(
            f'{filename} must have parameters of the backbone under the '
            f'prefix {prefix!r}, and has none (it begins with '
            f'{next(iter(found), None)!r}); set '
            'model.backbone.init_cfg.prefix, or give another file.'
        )


def _build(part: str, build: Callable[[], Any]) -> Any:
    """Call ``build``; tell the user when the config is what is wrong."""
    try:
        return build()
    except UsageError:
        raise
    except (
        AssertionError,
        AttributeError,
        ImportError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        print_log(
            traceback.format_exc(), logger='current', level=logging.DEBUG
        )
        text = ' '.join(str(error).split())
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
    loader = runner.train_dataloader
    # a batch sampler, as MMDetection's, takes the place of batch_size
    per_process = loader.batch_size or loader.batch_sampler.batch_size
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
