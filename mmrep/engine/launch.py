"""Build a runner that is ready to train or test from a config."""

import copy
import logging
import os
import traceback
from typing import Any, Callable, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmrep.checkpoint import (
    CheckpointError,
    check_file,
    check_fit,
    fit_pretrained,
    get_state_dict,
    load_checkpoint,
    register_loaders,
)
from mmrep.compat import repair_recalls
from mmrep.compat import report as operator_report
from mmrep.data.images import guard_loading
from mmrep.engine.checks import check_config
from mmrep.engine.inheritance import replaced_dict
from mmrep.errors import UsageError, counted
from mmrep.files import is_full, remove_remains
from mmrep.models.layers.norms import SingleImageBatchNorm
from mmrep.models.tta import unwrapped
from mmrep.ops import backend_report
from mmrep.registry import failure_of, type_name
from mmrep.runner.distributed import init_distributed
from mmrep.runner.faults import explained_faults
from mmrep.runner.hardened import use_hardened_parts
from mmrep.runner.resume import prepare_resume
from mmrep.runner.runner import FlexibleRunner
from mmrep.runner.sampler import ResumableInfiniteSampler, end_samplers
from mmrep.runner.sharding import prepare_sharding
from mmrep.runner.work_dir import WorkDirLock


def build_runner(
    cfg: Config,
    mode: str,
    launcher: str = 'none',
    trust_checkpoint: bool = False,
    skip_corrupt: bool = False,
) -> Runner:
    """Build everything a run needs, so a wrong config fails early.

    Args:
        cfg (Config): Config of the run, with ``work_dir``; ``load_from`` and
            ``resume`` say what is loaded.
        mode (str): 'train' or 'test'.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to
            'none'.
        trust_checkpoint (bool): Load checkpoints as MMEngine does, running
            code that they contain. Defaults to False.
        skip_corrupt (bool): Train without the samples whose image or label
            map cannot be read. Defaults to False.

    Returns:
        Runner: Call its ``train()`` or ``test()``.

    Raises:
        UsageError: If something that the user gave is missing or wrong.
    """
    start = cfg.get('load_from')
    if start and isinstance(start, str) and '://' not in start:
        check_file(start)
    register_loaders(trust_checkpoint)
    init_distributed(cfg, launcher)
    notes = check_config(cfg, mode)
    notes += prepare_resume(cfg, trust_checkpoint)
    resume = bool(cfg.get('resume'))
    hooks = [
        dict(
            type='mmrep.CheckpointGuardHook',
            strict=mode == 'test' or resume,
            resume=resume,
        ),
        dict(type='mmrep.SegmentationCheckHook', skip_corrupt=skip_corrupt),
    ]
    own = cfg.get('custom_hooks') or []
    if mode == 'test':
        # it would build the loop of the training, with its data
        own = [
            h for h in own if not type_name(h).endswith('EarlyStoppingHook')
        ]
    cfg.custom_hooks = [*own, *hooks]
    if mode == 'train' and cfg.get('optim_wrapper') is None:
        raise UsageError('the config must define optim_wrapper.')
    prepare_sharding(cfg, mode)
    runner_class = use_hardened_parts(cfg)
    notes += end_samplers(cfg, mode)
    lock = None
    if mode == 'train' and os.environ.get('RANK', '0') == '0':
        lock = WorkDirLock(cfg.work_dir)
        remove_remains(cfg.work_dir, shared=True)
        if lock.warning:
            notes.append(lock.warning)
    runner = _build(
        cfg,
        ('model', 'default_hooks', 'custom_hooks', 'visualizer'),
        lambda: runner_class.from_cfg(cfg),
    )
    runner.lock = lock  # as long as the runner exists
    for note in notes:
        runner.logger.warning(note)
    runner.logger.info(backend_report())
    runner.logger.info(operator_report())
    if not isinstance(runner, FlexibleRunner):
        _check_start(runner, mode == 'test' or resume, trust_checkpoint)
    if mode == 'test':
        _build_loop(runner, 'test')
        return runner
    if isinstance(runner, FlexibleRunner):
        # its strategy builds the model and the optimizer when it trains
        _build_loop(runner, 'train', skip_corrupt)
        _build_loop(runner, 'val')
        _log_batch_size(runner)
        return runner
    if not resume:
        _check_pretrained(runner, trust_checkpoint)
    _build_loop(runner, 'train', skip_corrupt)
    runner.optim_wrapper = _build(
        cfg,
        ('optim_wrapper',),
        lambda: runner.build_optim_wrapper(runner.optim_wrapper),
    )
    _build(
        cfg,
        ('param_scheduler',),
        lambda: _try_schedulers(runner, cfg.get('param_scheduler')),
    )
    _build_loop(runner, 'val')
    if _log_batch_size(runner) == 1 or _ends_with_one(runner):
        SingleImageBatchNorm.convert(runner.model)
    return runner


def _check_start(runner: Runner, strict: bool, trust: bool) -> None:
    """Compare ``load_from`` with the model, before data sets are read."""
    path = runner.cfg.get('load_from')
    if path and '://' not in path:
        checkpoint = load_checkpoint(path, trust=trust, mmap=True)
        check_fit(unwrapped(runner.model), get_state_dict(checkpoint), strict)


def _ends_with_one(runner: Runner) -> bool:
    """Whether the last batch of an epoch has one image; log it if so."""
    loader = runner.train_loop.dataloader
    if (
        runner.world_size > 1
        or loader.batch_size is None
        or loader.drop_last
        or isinstance(loader.sampler, ResumableInfiniteSampler)
        or len(loader.sampler) % loader.batch_size != 1
    ):
        return False
    runner.logger.info(
        'the last batch of an epoch has one image: a batch norm that gets '
        'one value per channel uses its running statistics there; '
        'train_dataloader.drop_last=True skips such a batch'
    )
    return True


def _check_pretrained(runner: Runner, trust: bool) -> None:
    """Check that the backbone's pretrained file has its parameters."""
    backbone = getattr(unwrapped(runner.model), 'backbone', None)
    init_cfg = getattr(backbone, 'init_cfg', None)
    if not isinstance(init_cfg, dict):
        return
    filename = init_cfg.get('checkpoint')
    kind = init_cfg.get('type')
    if kind is None or (kind == 'Pretrained' and not filename):
        raise UsageError(
            "model.backbone.init_cfg must be dict(type='Pretrained', "
            'checkpoint=FILE), or None to start from random weights, got '
            f'{dict(init_cfg)}.'
        )
    if kind != 'Pretrained':
        return
    if '://' in filename:
        return
    if init_cfg.get('_scope_') == 'mmrep':
        fit_pretrained(backbone, filename, init_cfg.get('prefix'))
        return
    found = get_state_dict(load_checkpoint(filename, trust=trust, mmap=True))
    prefix = (init_cfg.get('prefix') or '').rstrip('.')
    prefix = f'{prefix}.' if prefix else ''
    if not any(
        prefix + key in found and found[prefix + key].shape == value.shape
        for key, value in backbone.state_dict().items()
    ):
        raise CheckpointError(
            f'{filename} must have parameters of the backbone under the '
            f'prefix {prefix!r}, but has none (it begins with '
            f'{next(iter(found), None)!r}); set '
            'model.backbone.init_cfg.prefix, or give another file.'
        )


def _build(cfg: Config, keys: Sequence[str], build: Callable[[], Any]) -> Any:
    """Build what these keys describe; tell the user if they are wrong."""
    try:
        with explained_faults():
            return build()
    except UsageError:
        raise
    except Exception as error:  # constructors may raise anything
        if is_full(error):
            raise
        print_log(
            traceback.format_exc(), logger='current', level=logging.DEBUG
        )
        place, text = failure_of(error, cfg, keys)
        if text.endswith('need at least one array to concatenate'):
            # how MMEngine's datasets fail if they are empty
            text = (
                'the data set found no images; check data_prefix, '
                'img_suffix and ann_file'
            )
        if 'should have 1 or 3 values' in text:
            text += (
                "; for another number, set type='mmrep.SegDataPreProcessor'"
            )
        if 'palette does not match classes' in text:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            classes, palette = map(frame.f_locals.get, ('classes', 'palette'))
            text = (
                'metainfo.palette must have a colour for each of '
                f'{counted(len(classes), "class")}, got {len(palette)}; set '
                'both, or no palette'
            )
        if text.endswith('in METAINFO.'):
            # how MMSegmentation's datasets fail with other classes
            text += (
                ' The metainfo of the config or its base has the classes of '
                'another data set: set metainfo=None in the data set to use '
                'its own'
            )
        key = replaced_dict(cfg) if "'list' object" in text else ''
        if key:
            text += f'; {key} is a list, but the base config has a dict there'
        raise UsageError(
            f'the config cannot be built ({place or ", ".join(keys)}): {text} '
            '(log_level=DEBUG shows the traceback).'
        ) from error


def _try_schedulers(runner: Runner, schedulers: Any) -> None:
    """Build schedulers for a dummy parameter; the run builds them late."""
    wrapper = runner.optim_wrapper
    if not schedulers or not isinstance(wrapper, OptimWrapper):
        return
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    group = wrapper.optimizer.param_groups[0]
    optimizer.param_groups[0].update(
        {key: value for key, value in group.items() if key != 'params'}
    )
    optimizer.defaults.update(wrapper.optimizer.defaults)
    try:
        runner.optim_wrapper = OptimWrapper(optimizer)
        runner.build_param_scheduler(copy.deepcopy(schedulers))
    finally:
        runner.optim_wrapper = wrapper


def _build_loop(runner: Runner, mode: str, skip_corrupt: bool = False) -> None:
    """Build a loop with its data set, and guard its images."""
    loop = _build(
        runner.cfg,
        tuple(f'{mode}_{part}' for part in ('dataloader', 'cfg', 'evaluator')),
        lambda: getattr(runner, f'{mode}_loop'),
    )
    if loop is None:  # training without validation
        return
    if mode != 'train':
        prepare_metrics(loop.evaluator)
    if mode == 'train' and not len(loop.dataloader):
        size = len(loop.dataloader.dataset)
        raise UsageError(
            'an epoch must have at least one batch, but drop_last=True skips '
            f'the only one of {counted(size, "image")}; set a smaller '
            'train_dataloader.batch_size.'
        )
    guarded = guard_loading(loop.dataloader.dataset, skip_corrupt)
    if skip_corrupt and not guarded:
        raise UsageError(
            '--skip-corrupt needs a training pipeline that begins with '
            'LoadImageFromFile or a similar transform, but there is none.'
        )


def prepare_metrics(evaluator: Any) -> None:
    """Fix values for MMDetection's metrics, or refuse them."""
    repair_recalls()
    for metric in getattr(evaluator, 'metrics', ()):
        kind = type(metric).__name__
        if kind == 'CocoMetric':
            # pycocotools needs an array, but a config has a list
            metric.iou_thrs = np.atleast_1d(metric.iou_thrs)
        elif kind == 'VOCMetric' and metric.metric == 'recall':
            classes = (metric.dataset_meta or {}).get('classes') or ()
            if len(classes) > 1:
                raise UsageError(
                    "VOCMetric's metric='recall' counts only the boxes of "
                    f'the first class, but the data set has {len(classes)}; '
                    "use CocoMetric with metric='proposal_fast'."
                )


def _epochs(count: float) -> str:
    """A number of epochs in words, such as '0.33 of an epoch'."""
    if count < 1:
        return f'{count:.2g} of an epoch'
    return f'{count:.4g} epoch{"s" if count != 1 else ""}'


def _log_batch_size(runner: Runner) -> int:
    """Log the batch size the recipe assumes; return that of this run."""
    loop = runner.train_loop
    loader = loop.dataloader
    # a batch sampler, such as MMDetection's, replaces batch_size
    per_process = loader.batch_size or loader.batch_sampler.batch_size
    total = per_process * runner.world_size
    text = f'total batch size {total} ({runner.world_size} x {per_process})'
    counts = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
    if counts > 1:
        text += f', accumulated over {counts} iterations to {total * counts}'
    scaling = runner.cfg.get('auto_scale_lr') or {}
    assumed = scaling.get('base_batch_size')
    if assumed is not None and assumed != total * counts:
        text += f', the recipe assumes {assumed}; ' + (
            'the learning rate is scaled'
            if scaling.get('enable')
            else 'the learning rate is not scaled '
            '(--auto-scale-lr does it) and the number of samples is '
            f"{total / assumed:g} times the recipe's"
        )
    runner.logger.info(text)
    size, samples = len(loader.dataset), loop.max_iters * total
    text = (
        f'{counted(loop.max_iters, "iteration")}, '
        f'{counted(samples, "sample")} in all: '
        f'{_epochs(samples / max(size, 1))} of {counted(size, "image")}'
    )
    if assumed is not None:
        text += f'; {loop.max_iters * assumed} samples by the recipe'
    runner.logger.info(text)
    hook = runner.cfg.default_hooks.get('checkpoint')
    interval = 0 if hook is None else hook.get('interval', -1)
    by_epoch = hook is None or hook.get('by_epoch', True)
    if counts > 1 and not by_epoch and interval > 0 and interval % counts:
        runner.logger.warning(
            f'a checkpoint every {interval} iterations falls between '
            f'optimizer steps, which come every {counts}: a resumed run loses '
            'the gradients since the last step'
        )
    return total
