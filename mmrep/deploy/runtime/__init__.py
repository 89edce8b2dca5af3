"""Exported files that replace a config's model and its checkpoint."""

import json
from typing import Optional

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from mmrep.data.datasets import dataset_meta
from mmrep.deploy.runtime.files import RUNTIMES, ExportedFile, is_exported
from mmrep.deploy.whole.metadata import model_of
from mmrep.errors import UsageError
from mmrep.registry import MODELS, type_name

__all__ = [
    'RUNTIMES',
    'ExportedFile',
    'is_exported',
    'load_exported',
    'use_exported',
]


@MODELS.register_module(name='ExportedModel')
def build_exported(
    path: str,
    model: dict,
    runtime: Optional[str] = None,
    device: str = 'cpu',
    trust: bool = False,
) -> nn.Module:
    """Build the replacement of a model, for configs.

    Args:
        path (str): A whole model written by ``tools/export.py``.
        model (dict): Config of the model that was exported.
        runtime (str, optional): See :class:`ExportedFile`.
        device (str): See :class:`ExportedFile`. Defaults to 'cpu'.
        trust (bool): See :class:`ExportedFile`. Defaults to False.

    Returns:
        nn.Module: A segmentor of MMSegmentation or a detector of MMDetection.

    Raises:
        UsageError: If the file does not run, or belongs to another model.
    """
    file = ExportedFile(path, runtime, device, trust)
    expected = model_of(ConfigDict(model=model))
    if file.about['model'] != expected:
        raise UsageError(
            f"{path} must be a file of the config's model ({expected}), but "
            f'is one of another model ({file.about["model"]}).'
        )
    if 'align_corners' in file.decisions:
        from mmrep.deploy.runtime.segmentor import ExportedSegmentor

        return ExportedSegmentor(file, model).eval()
    from mmrep.deploy.runtime.detector import ExportedDetector

    return ExportedDetector(file, model).eval()


def use_exported(
    cfg: Config,
    path: str,
    runtime: Optional[str] = None,
    trust: bool = False,
    aug_test: bool = False,
) -> None:
    """Replace a config's model by an exported file, in place.

    Args:
        cfg (Config): Config of the model that was exported.
        path (str): See :class:`ExportedFile`.
        runtime (str, optional): See :class:`ExportedFile`.
        trust (bool): See :class:`ExportedFile`. Defaults to False.
        aug_test (bool): Whether its ``tta_model`` will be used. Defaults to
            False.

    Raises:
        UsageError: If the file cannot do what the ``tta_model`` needs.
    """
    tta = type_name(cfg.get('tta_model') or {})
    if aug_test and tta.endswith('InstanceTTAModel'):
        raise UsageError(
            '--aug-test with masks needs the features of the model, which an '
            'exported file does not return; omit it, or test the checkpoint.'
        )
    model = cfg.model
    cfg.model = dict(type='mmrep.ExportedModel', path=path, model=model)
    if runtime is not None:
        cfg.model.runtime = runtime
    if trust:
        cfg.model.trust = True
    cfg.load_from = None
    cfg.resume = False
    init_default_scope(cfg.get('default_scope') or 'mmengine')


def load_exported(
    cfg: Config,
    path: str,
    runtime: Optional[str] = None,
    device: str = 'cpu',
    trust: bool = False,
) -> nn.Module:
    """Load an exported file, like :func:`mmrep.deploy.load_model` a model.

    Args:
        cfg (Config): Config of the model that was exported.
        path (str): The file.
        runtime (str, optional): See :class:`ExportedFile`.
        device (str): Device of the predictions. Defaults to 'cpu'.
        trust (bool): See :class:`ExportedFile`. Defaults to False.

    Returns:
        nn.Module: With ``cfg`` and ``dataset_meta``.

    Raises:
        UsageError: If the file does not run, or belongs to another model.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = build_exported(path, cfg.model, runtime, device, trust)
    about = model.file.about
    meta = {
        key: json.loads(about[key])
        for key in ('classes', 'palette')
        if key in about
    }
    model.cfg = cfg
    model.dataset_meta = dataset_meta(cfg, dict(meta=dict(dataset_meta=meta)))
    return model.to(device)
