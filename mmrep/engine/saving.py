"""Checkpoints that are either whole or not there.

MMEngine writes a checkpoint under its final name, and removes the one before
while the new one is not yet written. Here a file is written beside its place,
flushed to the disk and renamed, and what it replaces goes afterwards.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import FlexibleRunner as _FlexibleRunner
from mmengine.runner import Runner as _Runner
from torch import nn

from mmrep.engine.faults import RunStopped
from mmrep.engine.speed import SWITCHES, use_speed_switches
from mmrep.errors import UsageError
from mmrep.registry import HOOKS, RUNNERS

INTERRUPTED = 'interrupted_iter_{}.pth'
POST_MORTEM = 'post_mortem_iter_{}.pth'


def _flush(path: Path) -> None:
    """Have the disk hold a file, or the entries of a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot for folders
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a checkpoint, a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f'.{path.name}.part')


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make a file or folder, then give it its name.

    Args:
        path (Path): Where it goes.
        write (Callable): Called with another path of the same folder.
    """
    partial = _partial(path)
    try:
        write(partial)
        for part in partial.iterdir() if partial.is_dir() else [partial]:
            _flush(part)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise
    _flush(path.parent)


def remove_partial(work_dir: str) -> None:
    """Remove what a process that was killed had begun to write."""
    for path in Path(work_dir).glob('.*.part'):
        remove(path)


def set_last_checkpoint(work_dir: str, checkpoint: str) -> None:
    """Have ``last_checkpoint`` name a checkpoint that is whole."""
    replace(
        Path(work_dir, 'last_checkpoint'),
        lambda path: path.write_text(checkpoint),
    )


def set_last_validation(work_dir: str, iteration: int) -> None:
    """Have ``last_validation`` say after which iteration one was done."""
    replace(
        Path(work_dir, 'last_validation'),
        lambda path: path.write_text(str(iteration)),
    )


def last_validation(work_dir: str) -> Optional[int]:
    """What :func:`set_last_validation` wrote, None if that cannot be read."""
    try:
        return int(Path(work_dir, 'last_validation').read_text())
    except (OSError, ValueError):
        return None


class _AtomicSaving:
    """A runner whose ``save_checkpoint`` writes all or nothing."""

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, **kwargs
    ) -> None:
        """Save as the runner does, by way of a file that is renamed.

        Raises:
            RunStopped: If the checkpoint cannot be written; what was there
                before still is.
        """
        save = super().save_checkpoint
        where = Path(out_dir)
        remote = '://' in str(out_dir) or kwargs.get('backend_args')
        if remote or kwargs.get('file_client_args') or any(args):
            save(out_dir, filename, *args, **kwargs)
            return

        def write(path: Path) -> None:
            save(out_dir, path.name, **kwargs)

        path = where / filename
        try:
            if is_main_process():
                replace(path, write)
            else:
                write(_partial(path))
        except OSError as error:
            raise RunStopped(_no_room(path, error)) from error


def _no_room(path: Path, error: OSError) -> str:
    free = shutil.disk_usage(path.parent).free / 2**20
    others = sorted(
        (p for p in path.parent.glob('*.pth') if p.is_file()),
        key=lambda p: p.stat().st_mtime,
    )
    intact = f'{others[-1].name} is untouched' if others else 'none is there'
    return (
        f'the checkpoint {path} cannot be written ({error.strerror or error}; '
        f'{free:.0f} MB are free). Of those before, {intact}. Make room and '
        'go on with --resume.'
    )


@RUNNERS.register_module()
class Runner(_AtomicSaving, _Runner):
    """MMEngine's Runner with checkpoints that are whole or absent.

    It also reads the switches of :mod:`mmrep.engine.speed`.
    """

    def wrap_model(
        self, model_wrapper_cfg: Optional[dict], model: nn.Module
    ) -> nn.Module:
        """Apply the config's switches, then wrap as MMEngine does."""
        use_speed_switches(self.cfg, model)
        return super().wrap_model(model_wrapper_cfg, model)


@RUNNERS.register_module()
class FlexibleRunner(_AtomicSaving, _FlexibleRunner):
    """MMEngine's FlexibleRunner with checkpoints that are whole or absent."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FlexibleRunner':
        """Build from a config; refuse what its strategies do not know."""
        for key in SWITCHES:
            if cfg.get(key):
                raise UsageError(f'{key} does not go with FlexibleRunner.')
        return super().from_cfg(cfg)


class _Deferred:
    """A file backend that removes nothing until it is told to."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._pending: List[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._pending.append(path)

    rmtree = remove

    def flush(self, keep: Sequence[Optional[str]]) -> None:
        for path in self._pending:
            if path in keep:
                continue
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):
                self._backend.rmtree(path)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's CheckpointHook that removes the old after saving the new.

    So while one is written there is room needed for one more than
    ``max_keep_ckpts``. Arguments are MMEngine's.
    """

    def _save_checkpoint_with_step(
        self, runner: _Runner, step: int, meta: dict
    ) -> None:
        backend, before = self.file_backend, self.last_ckpt
        self.file_backend = _Deferred(backend)
        try:
            self._save_with_step(runner, step, meta)
            self.file_backend.flush([self.last_ckpt])
        except BaseException:
            self.last_ckpt = before
            raise
        finally:
            self.file_backend = backend
        if is_main_process() and self.max_keep_ckpts > 0:
            for path in Path(runner.work_dir).glob(INTERRUPTED.format('*')):
                remove(path)

    def _save_with_step(self, runner: _Runner, step: int, meta: dict) -> None:
        """What MMEngine's does, with ``last_checkpoint`` written at once."""
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                old = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                if is_main_process():
                    self.file_backend.remove(
                        self.file_backend.join_path(self.out_dir, old)
                    )
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids)
            )
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            set_last_checkpoint(runner.work_dir, self.last_ckpt)

    def _save_best_checkpoint(self, runner: _Runner, metrics: dict) -> None:
        backend = self.file_backend
        self.file_backend = deferred = _Deferred(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        info = runner.message_hub.runtime_info
        deferred.flush(
            [v for k, v in info.items() if k.startswith('best_ckpt')]
        )
