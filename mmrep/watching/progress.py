"""A progress bar for people who wait at a terminal."""

import logging
import sys
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmrep.runner.faults import Unheard
from mmrep.watching.curves import better, score_names


@contextmanager
def watched(runner: Runner) -> Iterator[None]:
    """Show a progress bar for training or testing, only at a terminal.

    Log lines appear above it. If standard error is a file, or on ranks other
    than 0, nothing is shown.

    Args:
        runner (Runner): Call its ``train()`` or ``test()`` within.
    """
    if not (sys.stderr.isatty() and is_main_process()):
        yield
        return
    screen = sys.stdout
    # the terminal may be closed before rich restores the streams
    sys.stdout, sys.stderr = map(Unheard, (sys.stdout, sys.stderr))
    hook = ProgressHook(Console(file=sys.stderr))
    runner.register_hook(hook, priority='VERY_LOW')
    with hook.progress:
        # rich has replaced the terminal's streams with its own
        handlers = [
            handler
            for handler in runner.logger.handlers
            if isinstance(handler, logging.StreamHandler)
            and handler.stream is screen
        ]
        for handler in handlers:
            handler.setStream(sys.stdout)
        try:
            yield
        finally:
            for handler in handlers:
                handler.setStream(screen)


class ProgressHook(Hook):
    """Show how far a run is, its score so far, and the time left.

    Args:
        console (Console): Where the bar is; ``progress`` must be entered.
    """

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left:'),
            TimeRemainingColumn(),
            TextColumn('{task.fields[score]}'),
            console=console,
            refresh_per_second=4,
            # output redirected to a file stays there
            redirect_stdout=sys.stdout.isatty(),
            # over the last ten minutes, because validations take time too
            speed_estimate_period=600,
            transient=True,
        )
        self.best: Optional[float] = None

    def _begin(self, what: str, total: int, done: int = 0) -> Any:
        return self.progress.add_task(
            what, total=total, completed=done, score=''
        )

    def before_train(self, runner: Runner) -> None:
        """Show the bar; a resumed run has already done some iterations."""
        loop = runner.train_loop
        self.train = self._begin('training', loop.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Count."""
        self.progress.update(self.train, completed=runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Show a second bar."""
        total = len(runner.val_dataloader)
        self.val = self._begin('validating', total)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Count."""
        self.progress.update(self.val, completed=batch_idx + 1)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Show the score and the best one."""
        self.progress.remove_task(self.val)
        for name in score_names([metrics or {}])[:1]:
            value = metrics[name]
            self.best = value if self.best is None else self.best
            self.best = better(name)(value, self.best)
            text = f'{name} {value:.4g} (best {self.best:.4g})'
            self.progress.update(self.train, score=text)

    def before_test_epoch(self, runner: Runner) -> None:
        """Show the bar."""
        self.test = self._begin('testing', len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Count."""
        self.progress.update(self.test, completed=batch_idx + 1)
