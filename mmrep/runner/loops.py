"""Training loops that can be stopped and resumed, and report failures.

They do what MMEngine's do, and more: the data depend only on the seed and the
iteration (see :mod:`mmrep.runner.sampler`), and the model's random numbers
only on seed, rank and iteration; after a signal the run saves a checkpoint and
ends; a data loader worker that dies is replaced; a loss that is not finite is
traced to its images.
"""

import copy
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterator, List, Union

import torch
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from mmengine.runner import Runner
from mmengine.runner import TestLoop as _TestLoop
from mmengine.runner import ValLoop as _ValLoop
from torch import nn
from torch.utils.data import DataLoader

from mmrep.data.labels import LabelCheck
from mmrep.errors import one_line
from mmrep.files import remove
from mmrep.registry import LOOPS
from mmrep.runner.faults import Agreement, Interrupts, RunStopped
from mmrep.runner.first_batch import explained_start, try_prediction
from mmrep.runner.optim_wrapper import NonFiniteError, OptimWrapper
from mmrep.runner.sampler import (
    ResumableInfiniteSampler,
    SkippingBatchSampler,
    seed_all,
    seed_samples,
)
from mmrep.runner.work_dir import (
    INTERRUPTED,
    POST_MORTEM,
    last_validation,
    set_last_checkpoint,
    set_last_validation,
)

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_SAMPLERS = dict(
    InfiniteSampler='mmrep.ResumableInfiniteSampler',
    DefaultSampler='mmrep.ResumableSampler',
)


def resumable(dataloader: Dict[str, Any], seed: int) -> Dict[str, Any]:
    """The config of a data loader with samplers that can be skipped.

    Args:
        dataloader (dict): Config of a data loader.
        seed (int): Seed of the run, for a sampler that has none.

    Returns:
        dict: MMEngine's samplers are replaced by ours; other samplers stay.
    """
    dataloader = copy.deepcopy(dataloader)
    sampler = dataloader.get('sampler')
    name = str(sampler.get('type')) if isinstance(sampler, dict) else ''
    name = name.rpartition('.')[2].rstrip("'>")
    if name in _SAMPLERS:
        sampler['type'] = _SAMPLERS[name]
        sampler.setdefault('seed', seed)
        batch_sampler = dataloader.get('batch_sampler')
        if batch_sampler:
            dataloader['batch_sampler'] = dict(
                type='mmrep.SkippingBatchSampler', batch_sampler=batch_sampler
            )
    return dataloader


def file_names(data_batch: Any) -> List[str]:
    """Image files of a batch from a data loader."""
    samples = ()
    if isinstance(data_batch, dict):
        samples = data_batch.get('data_samples') or ()
    return [str(s.metainfo.get('img_path', '?')) for s in samples]


class _HardenedLoop:
    """Code shared by the two loops; a base in front of MMEngine's class."""

    def __init__(
        self,
        runner: Runner,
        dataloader: Union[DataLoader, Dict],
        *args,
        max_worker_restarts: int = 3,
        **kwargs,
    ) -> None:
        env_cfg = runner.cfg.get('env_cfg') or {}
        dist_cfg = env_cfg.get('dist_cfg') or {}
        self.agreement = Agreement(dist_cfg.get('timeout'))
        # ranks may have their own seeds
        self.seed = self.agreement.gather(runner.seed)[0]
        if isinstance(dataloader, dict):
            dataloader = resumable(dataloader, self.seed)
        super().__init__(runner, dataloader, *args, **kwargs)
        # MMEngine 0.10.7 already lets workers load from the start of the run
        self.__dict__.pop('dataloader_iterator', None)
        self.dataloader._iterator = None
        self.max_worker_restarts = max_worker_restarts
        self._restarts = 0
        self._started = False

    def run(self) -> nn.Module:
        """Train to the end.

        Raises:
            RunStopped: If it was interrupted, or the loss is not finite.
        """
        if isinstance(self.runner.optim_wrapper, OptimWrapper):
            self.runner.optim_wrapper.agreement = self.agreement
        model = self.runner.model
        model = model.module if is_model_wrapper(model) else model
        seed_samples(self.dataloader.dataset, LabelCheck.of(model))
        with Interrupts(self.runner.logger) as self.interrupts:
            if not self._iter and is_main_process():
                try_prediction(self.runner)
            return self._run()

    def run_iter(self, *args) -> None:
        """Run one iteration, with its own random numbers."""
        seed_all(self.seed, self.agreement.rank, self._iter)
        if resource is not None and not torch.cuda.is_available():
            # on a GPU, MMEngine logs it
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.runner.message_hub.update_scalar('train/memory', peak // 1024)
        try:
            with _explained(self.runner, 'train', not self._started):
                super().run_iter(*args)
        except NonFiniteError as error:
            self._post_mortem(error, args[-1])
        self._started = True

    def _validate_if_due(self, done: int, end: int) -> None:
        """Validate if the interval of iterations or epochs is over."""
        self._decide_current_val_interval()
        runner = self.runner
        if (
            runner.val_loop is None
            or done < self.val_begin
            or (done % self.val_interval and done != end)
        ):
            return
        runner.val_loop.run()
        if is_main_process():
            set_last_validation(runner.work_dir, self._iter)
        self._stop_if_asked()

    def _catch_up(self, done: int, end: int) -> None:
        """Run a validation that a stopped run still owes."""
        work_dir = self.runner.work_dir
        if not self._iter:
            if is_main_process():
                remove(Path(work_dir, 'last_validation'))
            return
        if self.agreement.gather(last_validation(work_dir))[0] != self._iter:
            self._validate_if_due(done, end)
        if done >= end:
            self.runner.logger.info(
                f'nothing is left to train: {done} of {end} are done.'
            )

    def _post_mortem(self, error: Exception, data_batch: Any) -> None:
        """Keep what is needed to reproduce an iteration."""
        names = self.agreement.gather(file_names(data_batch))
        name = POST_MORTEM.format(self._iter)
        self._save(name, dict(error=str(error), images=names))
        images = '; '.join(
            f'rank {rank}: {", ".join(batch)}'
            for rank, batch in enumerate(names)
        )
        raise RunStopped(
            f'{error} in iteration {self._iter + 1}, with the images '
            f'{images}. The state before it is in '
            f'{Path(self.runner.work_dir, name)}: --resume with that path '
            'begins with the same iteration and the same data.'
        ) from error

    def _save(self, name: str, meta: Dict[str, Any]) -> None:
        """Write a checkpoint of the completed iterations."""
        self._iter -= 1  # otherwise written within an iteration
        try:
            self.runner.save_checkpoint(
                self.runner.work_dir, name, meta=meta, by_epoch=False
            )
        finally:
            self._iter += 1

    def _stop_if_asked(self) -> None:
        """Save a checkpoint and stop if any process had a signal."""
        (number,) = self.agreement.highest(self.interrupts.signal or 0)
        if not number or self._is_accumulating():
            return
        work_dir = Path(self.runner.work_dir)
        last = self.runner.message_hub.runtime_info.get('last_ckpt') or ''
        current = {f'iter_{self._iter}.pth'}
        if self._iter == self._epoch * len(self.dataloader):
            current.add(f'epoch_{self._epoch}.pth')
        if Path(last).name not in current:
            last = str(work_dir / INTERRUPTED.format(self._iter))
            self._save(Path(last).name, {})
            if is_main_process():
                set_last_checkpoint(str(work_dir), last)
        raise RunStopped(
            f'stopped by {signal.Signals(number).name} after iteration '
            f'{self._iter}; continue from {last} with --resume.',
            128 + number,
        )

    def _is_accumulating(self) -> bool:
        """Whether there are gradients without a step yet."""
        wrapper = self.runner.optim_wrapper
        counts = getattr(wrapper, '_accumulative_counts', 1)
        return self._iter < self._max_iters and self._iter % counts != 0

    def _seek(self, position: int) -> int:
        """Set the samplers to a place.

        Args:
            position (int): Completed batches of the run or, if the data loader
                ends, of the epoch.

        Returns:
            int: Number of batches still to discard, for samplers that cannot
                be set.
        """
        sampler = self.dataloader.batch_sampler
        if isinstance(sampler, SkippingBatchSampler):
            sampler.skip_batches(position)
        elif hasattr(self.dataloader.sampler, 'skip'):
            size = self.dataloader.batch_size
            self.dataloader.sampler.skip(position * size)
        else:
            if position:
                self.runner.logger.warning(
                    f'{type(self.dataloader.sampler).__name__} has no method '
                    f'skip(): {position} batches are loaded and discarded.'
                )
            return position
        return 0

    def _batches(self, position: int) -> Iterator[Any]:
        """Batches from a position on; see :meth:`_seek`."""
        while True:
            drop = self._seek(position)
            iterator = iter(self.dataloader)
            _leave_workers_to_iterator()
            try:
                for _ in range(drop):
                    next(iterator)
                for batch in iterator:
                    yield batch
                    position += 1
                return
            except (RuntimeError, ConnectionError) as error:
                # a worker may also die while it passes on a batch
                lost = isinstance(error, ConnectionError)
                if not (lost and self.dataloader.num_workers) and (
                    'DataLoader worker' not in str(error)
                ):
                    raise
                self._count_restart(error)
            # a persistent iterator would be asked again
            self.dataloader._iterator = None
            del iterator

    def _count_restart(self, error: Exception) -> None:
        self._stop_if_interrupted_alone()
        text = one_line(error)
        if isinstance(error, ConnectionError):
            text = f'a DataLoader worker died ({text})'
        self._restarts += 1
        if self._restarts > self.max_worker_restarts:
            raise RunStopped(
                f'{text}, for the {self._restarts}th time. The system kills '
                'workers when memory runs out (see dmesg): lower '
                'train_dataloader.num_workers and resume with --resume.'
            ) from error
        self.runner.logger.warning(
            f'{text} in iteration {self._iter + 1}; the data loader restarts '
            f'at the same sample ({self._restarts} of '
            f'{self.max_worker_restarts} times).'
        )

    def _stop_if_interrupted_alone(self) -> None:
        """Handle a signal to all processes of a job, including workers."""
        if self.interrupts.signal and self.agreement.world_size == 1:
            self._stop_if_asked()

    def _set_epoch(self, epoch: int) -> None:
        for sampler in (
            self.dataloader.sampler,
            getattr(self.dataloader.batch_sampler, 'sampler', None),
        ):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)


def _leave_workers_to_iterator() -> None:
    """Notice a dead worker when the next batch is requested, not before.

    PyTorch raises the error from a signal handler, in the middle of running
    code such as the optimizer's step.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and hasattr(signal, 'SIGCHLD'):  # not on Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _explained(runner: Runner, mode: str, first: bool) -> ContextManager[None]:
    """Name the part that fails at the first batch."""
    if not first:
        return nullcontext()
    what = f'the run stops at the first batch of {mode}_dataloader'
    return explained_start(runner, what)


@LOOPS.register_module()
class IterBasedTrainLoop(_HardenedLoop, _IterBasedTrainLoop):
    """MMEngine's IterBasedTrainLoop that can stop and resume.

    Args:
        max_worker_restarts (int): How often data loader workers are replaced
            in a run. Defaults to 3.
        *args: Arguments of MMEngine's.
        **kwargs: Arguments of MMEngine's.
    """

    def _run(self) -> nn.Module:
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self._catch_up(self._iter, self._max_iters)
        batches = self._endless_batches()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(batches))
            self._stop_if_asked()
            self._validate_if_due(self._iter, self._max_iters)
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def _endless_batches(self) -> Iterator[Any]:
        sampler = self.dataloader.sampler
        sampler = getattr(self.dataloader.batch_sampler, 'sampler', sampler)
        if isinstance(sampler, ResumableInfiniteSampler):
            yield from self._batches(self._iter)
        while True:
            epoch, position = divmod(self._iter, len(self.dataloader))
            self._set_epoch(epoch)
            yield from self._batches(position)


@LOOPS.register_module()
class EpochBasedTrainLoop(_HardenedLoop, _EpochBasedTrainLoop):
    """MMEngine's EpochBasedTrainLoop that can stop and resume.

    Args:
        max_worker_restarts (int): How often data loader workers are replaced
            in a run. Defaults to 3.
        *args: Arguments of MMEngine's.
        **kwargs: Arguments of MMEngine's.
    """

    def _run(self) -> nn.Module:
        runner = self.runner
        runner.call_hook('before_train')
        if self._iter == self._epoch * len(self.dataloader):
            self._catch_up(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._stop_if_asked()
            self._validate_if_due(self._epoch, self._max_epochs)
        runner.call_hook('after_train')
        return runner.model

    def run_epoch(self) -> None:
        """Run an epoch, or the rest of it."""
        runner = self.runner
        runner.call_hook('before_train_epoch')
        runner.model.train()
        self._set_epoch(self._epoch)
        length = len(self.dataloader)
        done = self._iter - self._epoch * length
        done = done if 0 < done < length else 0
        for i, data_batch in enumerate(self._batches(done), done):
            self.run_iter(i, data_batch)
            if i + 1 < length:  # otherwise after the hooks of the epoch
                self._stop_if_asked()
        runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ValLoop(_ValLoop):
    """MMEngine's ValLoop, which names the part that fails on a first batch."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one batch."""
        with _explained(self.runner, 'val', idx == 0):
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class TestLoop(_TestLoop):
    """MMEngine's TestLoop, which names the part that fails at first."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one batch."""
        with _explained(self.runner, 'test', idx == 0):
            super().run_iter(idx, data_batch)
