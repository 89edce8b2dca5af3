"""A CheckpointHook that saves new checkpoints before it removes old ones."""

import os.path as osp
from pathlib import Path
from typing import Any, List, Optional, Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from mmrep.files import remove
from mmrep.registry import HOOKS, check_keywords
from mmrep.runner.work_dir import INTERRUPTED, set_last_checkpoint


class _Deferred:
    """A file backend that removes nothing until it is flushed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._pending: List[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._pending.append(path)

    rmtree = remove

    def flush(self, folder: str, keep: Sequence[Optional[str]]) -> None:
        """Remove the requested files, but only within one folder."""
        for path in self._pending:
            if path in keep or osp.dirname(path) != folder:
                continue
            if self._backend.isfile(path):
                self._backend.remove(path)
            elif self._backend.isdir(path):
                self._backend.rmtree(path)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's CheckpointHook, but it saves before it removes.

    So while it writes, it needs room for one more than ``max_keep_ckpts``.
    Arguments are MMEngine's; others are refused, whereas MMEngine's fails on
    them when it saves.
    """

    def __init__(self, *args, **kwargs) -> None:
        check_keywords(_CheckpointHook, kwargs)
        super().__init__(*args, **kwargs)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        backend, before = self.file_backend, self.last_ckpt
        self.file_backend = _Deferred(backend)
        try:
            self._save_with_step(runner, step, meta)
            self.file_backend.flush(self.out_dir, [self.last_ckpt])
        except BaseException:
            self.last_ckpt = before
            raise
        finally:
            self.file_backend = backend
        if is_main_process() and self.max_keep_ckpts > 0:
            for path in Path(runner.work_dir).glob(INTERRUPTED.format('*')):
                remove(path)

    def _save_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Do the same as MMEngine's, but write ``last_checkpoint`` at once."""
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

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        backend = self.file_backend
        self.file_backend = deferred = _Deferred(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        info = runner.message_hub.runtime_info
        deferred.flush(
            self.out_dir,
            [v for k, v in info.items() if k.startswith('best_ckpt')],
        )
