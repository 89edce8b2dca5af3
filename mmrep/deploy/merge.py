"""Turn a trained checkpoint into a merged one with its own config."""

from pathlib import Path
from typing import Dict, List, NamedTuple

from mmengine.config import Config
from torch import Tensor, nn

from mmrep.checkpoint import get_state_dict, load_checkpoint
from mmrep.deploy.compare import Difference, compare, outputs
from mmrep.deploy.deploy_form import (
    deploy_config,
    is_deploy_config,
    to_deploy_form,
)
from mmrep.deploy.models import build_model, load_model
from mmrep.errors import UsageError, listed
from mmrep.files import replaced, torch_save


class Reparameterized(NamedTuple):
    """Result of :func:`reparameterize`.

    Attributes:
        checkpoint: The merged weights.
        config: The config that loads them.
        differences: Differences of the model's outputs, for each input.
        norms: Number of batch norms before and after.
        parameters: Number of parameters before and after.
    """

    checkpoint: Path
    config: Path
    differences: Dict[str, List[Difference]]
    norms: tuple
    parameters: tuple


def reparameterize(
    cfg: Config,
    checkpoint: str,
    out: str,
    inputs: Dict[str, Tensor],
    tolerance: float = 1e-4,
    trust: bool = False,
) -> Reparameterized:
    """Merge a trained model, check it, and write it with a config.

    The check covers what was written: both files are read back, and the
    model's outputs are compared with those of the training form.

    Args:
        cfg (Config): Config of the training form of a segmentor or detector.
        checkpoint (str): Its weights.
        out (str): Path of the merged weights; the config is written next to
            it, with the suffix ``.py``.
        inputs (dict[str, Tensor]): Maps (N, C, H, W) to check with, by name.
        tolerance (float): Largest relative difference. Defaults to 1e-4.
        trust (bool): Run code that the checkpoint may contain. Defaults to
            False.

    Returns:
        Reparameterized: Paths, differences and sizes.

    Raises:
        UsageError: If the input is wrong or already merged, or an output
            differs by more than ``tolerance``; nothing is written then.
    """
    path = Path(out)
    config_path = path.with_suffix('.py')
    _check_paths(cfg, checkpoint, path, config_path)
    _check_unmerged(cfg, checkpoint, trust)
    model = load_model(cfg, checkpoint, trust=trust)
    expected = {name: outputs(model, x) for name, x in inputs.items()}
    before = count_norms(model), count_parameters(model)
    to_deploy_form(model)
    after = count_norms(model), count_parameters(model)
    merged = deploy_config(cfg)
    # the last one gets its name first, so a config is never without weights
    with replaced(config_path) as new_config, replaced(path) as new_path:
        meta = dict(dataset_meta=model.dataset_meta, deploy_form=True)
        torch_save(dict(meta=meta, state_dict=model.state_dict()), new_path)
        del model
        text = (
            f'# The deploy form of {Path(cfg.filename).name}, for the weights '
            f'in {path.name}.\n{merged.pretty_text}'
        )
        new_config.write_text(text)
        model = load_model(Config.fromfile(new_config), str(new_path))
        differences = {
            name: compare(expected[name], outputs(model, x))
            for name, x in inputs.items()
        }
        for name, found in differences.items():
            check_tolerance(name, found, tolerance)
    return Reparameterized(
        path,
        config_path,
        differences,
        (before[0], after[0]),
        (before[1], after[1]),
    )


def check_tolerance(
    name: str, differences: List[Difference], tolerance: float
) -> None:
    """Raise if a relative difference exceeds ``tolerance``."""
    worst = differences[0]
    if not worst.relative <= tolerance:
        raise UsageError(
            f'{worst.name} of the {name} input differs by '
            f'{worst.relative:.2e} of its largest value (absolute '
            f'{worst.max_abs:.2e}), more than the tolerance of '
            f'{tolerance:.0e}; nothing was written.'
        )


def count_norms(model: nn.Module) -> int:
    """Number of batch norms."""
    kind = nn.modules.batchnorm._BatchNorm
    return sum(isinstance(m, kind) for m in model.modules())


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, without statistics of norms."""
    return sum(p.numel() for p in model.parameters())


def _check_paths(
    cfg: Config, checkpoint: str, path: Path, config: Path
) -> None:
    if path.suffix not in ('.pth', '.pt'):
        raise UsageError(f'OUT must end in .pth, got {str(path)!r}.')
    for target in (path, config):
        if target.is_dir():
            raise UsageError(
                f'{target}, where a file would be written, must not be a '
                'folder; give OUT another name.'
            )
    sources = {Path(checkpoint).resolve(), Path(cfg.filename).resolve()}
    if {path.resolve(), config.resolve()} & sources:
        raise UsageError(
            f'OUT must not overwrite the input, but {path} and {config} would '
            'be written.'
        )
    if config.exists() and 'mmrep.DeployForm' not in config.read_text():
        raise UsageError(
            f'{config}, where the config would be written, exists and is not '
            'the config of a deploy form; give OUT another name.'
        )


def _check_unmerged(cfg: Config, checkpoint: str, trust: bool) -> None:
    if is_deploy_config(cfg):
        raise UsageError(
            f'the model of {cfg.filename} is already in deploy form; give '
            'the config and the checkpoint of the training form.'
        )
    found = get_state_dict(load_checkpoint(checkpoint, trust=trust))
    model = build_model(cfg)
    trained = set(model.state_dict())
    merged = set(to_deploy_form(model).state_dict()) - trained
    here = sorted(merged & set(found), key=lambda k: ('backbone' not in k, k))
    if here:
        raise UsageError(
            f'the checkpoint {checkpoint} is already merged: it holds '
            f'{listed(here, 1)}, which only a deploy form has. Give the '
            'checkpoint from training.'
        )
