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
            f'pip install {name}.'
        )
    if not cfg.get('visualizer'):
        raise UsageError('--log-to needs visualizer in the config.')
    backend = dict(type=f'mmengine.{LOGGERS[name]}')
    if name == 'wandb':
        run = Path(cfg.work_dir).resolve().name
        backend['init_kwargs'] = dict(project='mmrep', name=run)
    backends = list(cfg.visualizer.get('vis_backends') or [])
    if all(LOGGERS[name] not in str(part.get('type')) for part in backends):
        cfg.visualizer.vis_backends = [*backends, backend]
