"""MMEngine's runners, with checkpoints that are complete or absent."""

import os.path as osp
import shutil
from logging import Logger
from pathlib import Path
from typing import Optional, Union

from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.runner import FlexibleRunner as _FlexibleRunner
from mmengine.runner import Runner as _Runner
from torch import nn

from mmrep.checkpoint import CheckpointError
from mmrep.compat.noise import silence_logger
from mmrep.errors import UsageError, one_line
from mmrep.files import WriteError, partial_path, replaced
from mmrep.registry import RUNNERS
from mmrep.runner.faults import RunStopped
from mmrep.runner.first_batch import explained_start
from mmrep.runner.request import describe_run
from mmrep.runner.saving import end_without_log
from mmrep.runner.speed import SWITCHES, use_speed_switches


class _AtomicSaving:
    """A runner whose files are complete or absent; on errors it ends."""

    def build_logger(self, *args, **kwargs) -> Logger:
        """Build MMEngine's logger; see :func:`end_without_log`."""
        logger = super().build_logger(*args, **kwargs)
        end_without_log(logger)
        return logger

    def _log_env(self, *args) -> None:
        """Log what the run was asked to do before environment and config."""
        silence_logger(self.logger)
        log_dir = osp.join(self.work_dir, self.timestamp)
        self.logger.info(describe_run(self.cfg, self.seed, log_dir))
        super()._log_env(*args)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call all hooks; name one that cannot start."""
        if fn_name != 'before_run':
            super().call_hook(fn_name, **kwargs)
            return
        with explained_start(self, 'the run cannot start'):
            super().call_hook(fn_name, **kwargs)

    @master_only
    def dump_config(self) -> None:
        """Write the config into the work dir."""
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name
        with replaced(Path(self.work_dir, name)) as partial:
            self.cfg.dump(partial)

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, **kwargs
    ) -> None:
        """Save as the runner does, but to a file that is renamed.

        Raises:
            RunStopped: If the checkpoint cannot be written; earlier files
                remain.
        """
        save = super().save_checkpoint
        remote = '://' in str(out_dir) or kwargs.get('backend_args')
        if remote or kwargs.get('file_client_args') or any(args):
            save(out_dir, filename, *args, **kwargs)
            return
        path = Path(out_dir, filename)
        try:
            if is_main_process():
                with replaced(path, flush=True, shared=True) as partial:
                    save(out_dir, partial.name, **kwargs)
            else:
                partial = partial_path(path, shared=True)
                save(out_dir, partial.name, **kwargs)
        except (OSError, WriteError) as error:
            raise RunStopped(_no_room(path, error)) from error


def _no_room(path: Path, error: Union[OSError, WriteError]) -> str:
    free = shutil.disk_usage(path.parent).free / 2**20
    others = sorted(
        (p for p in path.parent.glob('[!.]*.pth') if p.is_file()),
        key=lambda p: p.stat().st_mtime,
    )
    intact = f'{others[-1].name} is untouched' if others else 'there are none'
    return (
        f'the checkpoint {path} cannot be written ({error.strerror or error}; '
        f'{free:.0f} MB are free). As for earlier checkpoints, {intact}. Free '
        'some space and resume with --resume.'
    )


@RUNNERS.register_module()
class Runner(_AtomicSaving, _Runner):
    """MMEngine's Runner with checkpoints that are complete or absent.

    It also reads the switches of :mod:`mmrep.runner.speed`.
    """

    def wrap_model(
        self, model_wrapper_cfg: Optional[dict], model: nn.Module
    ) -> nn.Module:
        """Apply the config's switches, then wrap as MMEngine does."""
        use_speed_switches(self.cfg, model)
        return super().wrap_model(model_wrapper_cfg, model)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume as MMEngine does; explain in one line what does not fit.

        Raises:
            CheckpointError: If the optimizer, a scheduler or another part of
                the run has another form than in the checkpoint.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except UsageError:
            raise
        except (
            AssertionError,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            text = one_line(error, kind=True)
            raise CheckpointError(
                f'a run cannot be resumed from {filename}, which does not '
                f'match this config: {text}. Use the config of that run, or '
                'start from its weights with --cfg-options load_from=PATH '
                'instead of --resume.'
            ) from error


@RUNNERS.register_module()
class FlexibleRunner(_AtomicSaving, _FlexibleRunner):
    """MMEngine's FlexibleRunner with complete or absent checkpoints."""

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        *args,
        meta: Optional[dict] = None,
        by_epoch: bool = True,
        **kwargs,
    ) -> None:
        """Save with the caller's iteration count, as MMEngine's Runner does.

        MMEngine's FlexibleRunner saves the next count instead, which is wrong
        after a validation: a resumed run would skip an iteration.
        """
        loop, count = self.train_loop, '_epoch' if by_epoch else '_iter'
        before = getattr(loop, count)
        done = (meta or {}).get(count[1:], before + 1)
        setattr(loop, count, done - 1)
        try:
            super().save_checkpoint(
                out_dir,
                filename,
                *args,
                meta=meta,
                by_epoch=by_epoch,
                **kwargs,
            )
        finally:
            setattr(loop, count, before)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FlexibleRunner':
        """Build from a config; refuse what its strategies do not support."""
        for key in SWITCHES:
            if cfg.get(key):
                raise UsageError(f'{key} does not work with FlexibleRunner.')
        return super().from_cfg(cfg)
