"""Hooks that the tools add to a run."""

import time
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hooks import LoggerHook as _LoggerHook
from mmengine.runner import BaseLoop, Runner

from mmrep.checkpoint import check_fit, dataset_meta_of, get_state_dict
from mmrep.data.datasets import check_order
from mmrep.errors import counted
from mmrep.models.precision import check_precision, use_half
from mmrep.models.tta import unwrapped
from mmrep.registry import HOOKS
from mmrep.runner.resume import (
    check_resumable,
    checkpoint_folder,
    keep_to_own_folder,
)


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Compare a checkpoint with the model before it is loaded.

    MMEngine only warns of parameters that do not fit, and then trains or tests
    with random ones. This hook raises an error.

    Args:
        strict (bool): Require every parameter of the model, as a test or a
            resumed run does. Otherwise one that fits is enough, as in
            fine-tuning. Defaults to True.
        resume (bool): Require what a resumed run needs besides parameters.
            Defaults to False.
    """

    def __init__(self, strict: bool = True, resume: bool = False) -> None:
        self.strict = strict
        self.resume = resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check ``checkpoint`` against the runner's model.

        Raises:
            CheckpointError: If it does not fit.
        """
        if self.resume:
            check_resumable(checkpoint)
            # which MMEngine executes, and which may come from a URL
            dict.pop(checkpoint['meta'], 'config', None)
            keep_to_own_folder(
                checkpoint['message_hub']['runtime_info'],
                _checkpoint_folder(runner),
            )
        loop = getattr(runner, '_test_loop', None)
        if isinstance(loop, BaseLoop):
            check_order(
                'test_dataloader', loop.dataloader.dataset, 'the checkpoint',
                dataset_meta_of(checkpoint),
            )  # fmt: skip
        model = unwrapped(runner.model)
        warning = check_fit(model, get_state_dict(checkpoint), self.strict)
        if warning is not None:
            runner.logger.warning(warning)

    def before_test(self, runner: Runner) -> None:
        """Check an exported file, which is no checkpoint.

        Raises:
            UsageError: If its classes are in another order than the data's.
        """
        file = getattr(unwrapped(runner.model), 'file', None)
        if file is not None:
            dataset = runner.test_loop.dataloader.dataset
            check_order('test_dataloader', dataset, 'the file', file.meta)


def _checkpoint_folder(runner: Runner) -> str:
    """Where a run keeps its checkpoints."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            return checkpoint_folder(hook.out_dir, runner.work_dir)
    return runner.work_dir


@HOOKS.register_module()
class LoggerHook(_LoggerHook):
    """MMEngine's LoggerHook, but only rank 0 writes a test's metrics.

    If all ranks write the same file, the end of a longer text may remain after
    a shorter one. Arguments are MMEngine's.
    """

    def after_test_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Log the metrics and write them to ``TIMESTAMP.json``."""
        if is_main_process():
            super().after_test_epoch(runner, metrics)


@HOOKS.register_module()
class HalfPrecisionHook(Hook):
    """Make a test compute in 16 bits, after the weights are loaded.

    Args:
        dtype (str): 'bf16' or 'fp16'; see
            :func:`mmrep.models.precision.use_half`.

    Raises:
        UsageError: If the device cannot compute in this type.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.note = check_precision(dtype, get_device())

    def before_test(self, runner: Runner) -> None:
        """Convert the model."""
        if self.note:
            runner.logger.warning(self.note)
        use_half(runner.model, self.dtype)


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Report how many images per second the model processes in a test.

    It measures from images in memory to predictions, in one process, and
    reports the median over batches, without the first ones and a smaller last
    one.

    Args:
        warmup (int): Number of first batches to skip. Defaults to 3.
    """

    def __init__(self, warmup: int = 3) -> None:
        self.warmup = warmup

    def before_test_epoch(self, runner: Runner) -> None:
        """Reset the measurement."""
        self.speeds: List[float] = []
        self.largest = 0

    def before_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Start the clock."""
        _synchronize()
        self.start = time.perf_counter()

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence] = None,
    ) -> None:
        """Stop the clock."""
        _synchronize()
        seconds = time.perf_counter() - self.start
        images = len(outputs)
        self.largest = max(self.largest, images)
        if batch_idx >= self.warmup and images == self.largest:
            self.speeds.append(images / seconds)

    def after_test_epoch(
        self, runner: Runner, metrics: Optional[dict] = None
    ) -> None:
        """Log the median."""
        if self.speeds:
            runner.logger.info(
                f'throughput: {np.median(self.speeds):.1f} images/s at batch '
                f'size {self.largest}, '
                f'median of {counted(len(self.speeds), "batch")}'
            )


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
