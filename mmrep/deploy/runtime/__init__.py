"""Exported files that replace a config's model and its checkpoint."""

import logging
from typing import Any, Iterator, Optional, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import nn

from mmrep.data.datasets import dataset_meta
from mmrep.deploy.runtime.files import RUNTIMES, ExportedFile, is_exported
from mmrep.deploy.whole.metadata import describe_input, model_of
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
    cfg = ConfigDict(model=model)
    known = {'model': model_of(cfg), **describe_input(cfg, {})}
    if file.about['input'] != 'normalised':
        del known['channels']
    for key, expected in known.items():
        if file.about.get(key, expected) != expected:
            what = '' if key == 'model' else f'{key} '
            raise UsageError(
                f"{path} must be a file of the config's model "
                f'({what}{expected}), but is one of another model '
                f'({what}{file.about[key]}).'
            )
    for key, own, other in _other_decisions(file, cfg.model):
        print_log(
            f'{path} was exported with the {key} {own}, which the {other} of '
            'the config does not change; export it again to change it',
            'current',
            logging.WARNING,
        )
    if 'align_corners' in file.decisions:
        from mmrep.deploy.runtime.segmentor import ExportedSegmentor

        return ExportedSegmentor(file, model).eval()
    from mmrep.deploy.runtime.detector import ExportedDetector

    return ExportedDetector(file, model).eval()


def _other_decisions(
    file: ExportedFile, model: ConfigDict
) -> Iterator[Tuple[str, Any, Any]]:
    """What a file decides in another way than a config: its and theirs."""
    rules = model.get('test_cfg') or {}
    rules = rules.get('rcnn', rules)
    wanted = dict(
        score_threshold=rules.get('score_thr'),
        iou_threshold=(rules.get('nms') or {}).get('iou_threshold'),
        mask_threshold=rules.get('mask_thr_binary'),
        max_per_image=rules.get('max_per_img'),
    )
    for key, value in wanted.items():
        own = file.decisions.get(key)
        if None not in (own, value) and own != value:
            yield key, own, value


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
    meta = model.file.meta
    model.cfg = cfg
    model.dataset_meta = dataset_meta(cfg, dict(meta=dict(dataset_meta=meta)))
    return model.to(device)
