"""Where a run's scalars go besides ``scalars.json``."""

from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from mmrep.errors import UsageError

LOGGERS = dict(tensorboard='TensorboardVisBackend', wandb='WandbVisBackend')


def log_to(cfg: Config, name: str) -> None:
    """Make a run also log to TensorBoard or Weights & Biases.

    Args:
        cfg (Config): Config of the run, with ``work_dir``; changed in place.
        name (str): 'tensorboard' or 'wandb'; its package must be installed.
            With ``cfg.resume``, W&B continues the work dir's newest run.

    Raises:
        UsageError: If it is not, or the config has no visualizer.
    """
    if name not in LOGGERS:
        raise UsageError(
            f'a logger must be one of {", ".join(LOGGERS)}, got {name!r}.'
        )
    if find_spec(name) is None:
        raise UsageError(
            f'--log-to {name} needs a package that is not installed: '
            f'pip install {name} (tested: requirements/loggers.txt).'
        )
    if not cfg.get('visualizer'):
        raise UsageError('--log-to needs visualizer in the config.')
    backend = dict(type=f'mmengine.{LOGGERS[name]}')
    if name == 'wandb':
        work_dir = Path(cfg.work_dir).resolve()
        backend['init_kwargs'] = dict(project='mmrep', name=work_dir.name)
        earlier = sorted(work_dir.glob('*/vis_data/wandb/*run-*-*'))
        if cfg.get('resume') and earlier:
            own = earlier[-1].name.rpartition('-')[2]
            backend['init_kwargs'].update(id=own, resume='allow')
    backends = list(cfg.visualizer.get('vis_backends') or [])
    if all(LOGGERS[name] not in str(part.get('type')) for part in backends):
        cfg.visualizer.vis_backends = [*backends, backend]
