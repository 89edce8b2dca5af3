"""Convert a released file to a model's state dict and explain every key."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List

import numpy as np
import torch
from torch import Tensor, nn

from mmrep.checkpoint.fit import (
    compare_states,
    problems,
    refuse_fused_windows,
)
from mmrep.checkpoint.layouts import LAYOUTS, Released, State
from mmrep.checkpoint.loading import CheckpointError, load_checkpoint
from mmrep.errors import UsageError, listed
from mmrep.files import replaced, torch_save

_EMA_NAMES = ('model_ema', 'state_dict_ema', 'ema_state_dict')
_STAGE = re.compile(r'(?:stages|downsample_layers)\.(\d+)\.|transitions\.(\d)')
_OVERLOCK_PART = re.compile(r'(?:patch_embed|blocks|sub_blocks|high_level)\w+')
_OUTPUT_NORM = re.compile(r'(?:stages\.\d+\.norm|norm\d+|extra_norm|h_proj)\.')


@dataclass
class Match:
    """How a file and a model fit together.

    Args:
        layout (str): Layout of the file.
        deploy (bool): Whether the file is in deploy form.
        has_heads (bool): Whether it is a whole segmentor or detector.
        state (dict): The tensors that fit, under the model's names.
        left_out (dict): Keys of the file that the model does not need, by
            reason.
        to_train (dict): Keys of the model that such a file never has, by
            reason.
        missing (list[str]): Other keys of the model that the file lacks.
        unexpected (list[str]): Other keys of the file.
        mismatched (list[str]): Keys whose shapes differ, with both shapes.
    """

    layout: str
    deploy: bool
    has_heads: bool
    state: State = field(default_factory=dict)
    left_out: Dict[str, List[str]] = field(default_factory=dict)
    to_train: Dict[str, List[str]] = field(default_factory=dict)
    missing: List[str] = field(default_factory=list)
    unexpected: List[str] = field(default_factory=list)
    mismatched: List[str] = field(default_factory=list)

    @property
    def problems(self) -> str:
        """Problems that prevent the use of the file, in one line, or ''."""
        return problems(self.missing, self.mismatched, self.unexpected)

    def report(self) -> str:
        """A report with one line for each kind of finding."""
        lines = [f'layout: {self.layout}, {_form(self.deploy)} form']
        lines.append(f'matched: {len(self.state)}')
        for title, groups in (
            ('skipped', self.left_out),
            ('not in such a file', self.to_train),
        ):
            for reason, keys in groups.items():
                shown = listed(keys, 3)
                lines.append(f'{title}: {len(keys)}, {reason} ({shown})')
        for title in ('missing', 'unexpected', 'mismatched'):
            keys = getattr(self, title)
            lines.append(
                f'{title}: {len(keys)}'
                + (f' ({listed(keys, 3)})' if keys else '')
            )
        return '\n'.join(lines)


def weights_of(checkpoint: Dict[str, Any], ema: bool = False) -> State:
    """The tensors of a checkpoint, without anything wrapped around them.

    It removes containers (``state_dict``, ``model``), the prefixes ``module.``
    and ``ema_model.``, and what MMCV 0.x's EMA hook saves next to the weights.

    Args:
        checkpoint (dict): What :func:`load_checkpoint` returns.
        ema (bool): Use the average that timm-style training scripts save next
            to the weights. MMCV and MMEngine save the average as the weights
            themselves. Defaults to False.

    Returns:
        dict[str, Tensor]: Tensors by parameter name.

    Raises:
        CheckpointError: If there are none.
    """
    averages = [
        checkpoint[name]
        for name in _EMA_NAMES
        if isinstance(checkpoint.get(name), dict)
    ]
    holder: dict = checkpoint
    if ema:
        if not averages:
            raise CheckpointError(
                'the checkpoint must hold averaged weights under one of '
                f'{", ".join(_EMA_NAMES)}, but holds {listed(checkpoint, 3)}.'
            )
        holder = averages[0]
    elif averages and not {'state_dict', 'model'} & checkpoint.keys():
        holder = averages[0]
    while True:
        inner = holder.get('state_dict', holder.get('model'))
        if not isinstance(inner, dict):
            break
        holder = dict(dict.items(inner))
    state = {
        key: value
        for key, value in dict.items(holder)
        if isinstance(value, Tensor) and isinstance(key, str)
    }
    for wrapper in ('ema_model.', 'module.', 'model.'):
        if any(key.startswith(wrapper) for key in state):
            # next to them are step counters
            state = {
                key[len(wrapper) :]: value
                for key, value in state.items()
                if key.startswith(wrapper)
            }
    flat = {f'ema_{key.replace(".", "_")}' for key in state}
    state = {k: v for k, v in state.items() if k not in flat}
    if not state:
        raise CheckpointError('the checkpoint holds no named tensors.')
    return state


def recognise(state: State) -> Released:
    """Find the layout of a file.

    Args:
        state (dict[str, Tensor]): What :func:`weights_of` returns.

    Returns:
        Released: Its tensors, sorted.

    Raises:
        CheckpointError: If no known layout fits.
    """
    refuse_fused_windows(state)
    for layout in LAYOUTS:
        released = layout(state)
        if released is not None:
            return released
    raise CheckpointError(
        'the layout of the checkpoint is not known (docs/model_zoo.md lists '
        f'the known ones); it begins with {listed(state, 3)}.'
    )


def match(released: Released, model: nn.Module) -> Match:
    """Compare a released file with a model, key by key.

    Args:
        released (Released): What :func:`recognise` returns.
        model (nn.Module): A segmentor, detector, classifier or backbone, in
            the form (training or deploy) of the file, on any device.

    Returns:
        Match: What fits and what does not.

    Raises:
        CheckpointError: If the file and the model have different forms.
    """
    backbone = getattr(model, 'backbone', model)
    deploy = getattr(backbone, 'deploy', False)
    if deploy != released.deploy:
        raise CheckpointError(
            f'the checkpoint is in {_form(released.deploy)} form and the '
            f'model of the config in {_form(deploy)} form; set '
            f'model.backbone.deploy={released.deploy}.'
        )
    expected = model.state_dict()
    whole = any(key.startswith('backbone.') for key in expected)
    prefix = 'backbone.' if whole else ''
    found = {prefix + key: v for key, v in released.backbone.items()}
    result = Match(released.layout, released.deploy, bool(released.heads))
    if 'head.fc.weight' in expected:
        # a classifier; its norm is that of the last stage
        last = max(int(n) for n in _stages(expected, prefix))
        for key, value in released.classifier.items():
            key = key.replace('head.', 'head.fc.')
            key = re.sub(r'^norm\.', f'{prefix}stages.{last}.norm.', key)
            found[key] = value
    elif released.classifier:
        result.left_out['the ImageNet classifier'] = sorted(
            released.classifier
        )
    if whole:
        found.update(released.heads)
    elif released.heads:
        result.left_out['not part of the backbone'] = sorted(released.heads)

    unbuilt = _unbuilt(found, expected, prefix)
    if unbuilt:
        result.left_out['stages that the backbone does not build'] = unbuilt
    built = {key: found[key] for key in found if key not in unbuilt}
    differing = compare_states(expected, built)
    result.state = {key: built[key] for key in differing.fitting}
    result.mismatched = differing.mismatched
    result.unexpected = differing.unexpected
    from_imagenet = not released.heads
    for key in differing.missing:
        if from_imagenet and not key.startswith(prefix):
            _add(result.to_train, 'neck and heads, trained from scratch', key)
        elif (
            from_imagenet
            and 'head.fc.weight' not in expected
            and _OUTPUT_NORM.match(key[len(prefix) :])
        ):
            _add(result.to_train, 'output norms, trained from scratch', key)
        else:
            result.missing.append(key)
    return result


def _form(deploy: bool) -> str:
    return 'deploy' if deploy else 'training'


def _add(groups: Dict[str, List[str]], reason: str, key: str) -> None:
    groups.setdefault(reason, []).append(key)


def _stages(state: Iterable[str], prefix: str) -> List[str]:
    names = (key[len(prefix) :] for key in state if key.startswith(prefix))
    return [n.split('.')[1] for n in names if n.startswith('stages.')]


def _unbuilt(found: State, expected: State, prefix: str) -> List[str]:
    """Keys of stages after the last one of the model."""
    last = max((int(n) for n in _stages(expected, prefix)), default=-1)
    parts = {key[len(prefix) :].split('.')[0] for key in expected}
    keys = []
    for key in found:
        part = _OVERLOCK_PART.match(key[len(prefix) :])
        if part and part[0] not in parts:
            keys.append(key)
        stage = _STAGE.match(key[len(prefix) :])
        if stage is None:
            continue
        index = stage.group(1) or int(stage.group(2)) + 1
        if int(index) > last:
            keys.append(key)
    return keys


def check_name(filename: str, digest: str) -> None:
    """Compare a SHA-256 with its first digits in an OpenMMLab file name.

    Raises:
        CheckpointError: If the file is not the one that had this name.
    """
    named = re.search(
        r'_\d{8}-([0-9a-f]{8})\.pth$', os.path.basename(filename)
    )
    if named and not digest.startswith(named.group(1)):
        raise CheckpointError(
            f'the SHA-256 of {filename} must begin with {named.group(1)}, as '
            f'its name says, but is {digest}; download it again, or rename it '
            'if you changed it.'
        )


def sha256(filename: str) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(filename).open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def dataset_meta_of(checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Classes and palette of a checkpoint's data set, of either generation.

    MMSegmentation 0.x and MMDetection 2.x call them ``CLASSES`` and
    ``PALETTE``. Anything that is not a list of names or colours is dropped.

    Returns:
        dict: ``classes``, a tuple of names, and ``palette``, a list of tuples,
            if the checkpoint has them.
    """
    meta = checkpoint.get('meta') or {}
    known = meta.get('dataset_meta')
    source = known if isinstance(known, dict) else meta
    lowered = {str(k).lower(): v for k, v in dict.items(source)}
    plain: Dict[str, Any] = {}
    classes = lowered.get('classes')
    if isinstance(classes, (list, tuple)) and all(
        isinstance(name, str) for name in classes
    ):
        plain['classes'] = tuple(str(name) for name in classes)
    palette = lowered.get('palette')
    if isinstance(palette, np.ndarray):  # invented by MMSegmentation 0.x
        palette = palette.tolist()
    if isinstance(palette, (list, tuple)) and all(
        isinstance(colour, (list, tuple)) for colour in palette
    ):
        # MMDetection draws with tuples
        plain['palette'] = [tuple(map(int, colour)) for colour in palette]
    return plain


def convert(
    filename: str,
    model: nn.Module,
    ema: bool = False,
    trust: bool = False,
) -> 'Conversion':
    """Read a released file and fit it to a model.

    Args:
        filename (str): Path of the file.
        model (nn.Module): The config's model; it is switched to deploy form
            if the file is in deploy form.
        ema (bool): See :func:`weights_of`. Defaults to False.
        trust (bool): Run code that the file may contain. Defaults to False.

    Returns:
        Conversion: The result; call its ``write``.

    Raises:
        CheckpointError: If the file cannot be read or recognised.
    """
    checkpoint = load_checkpoint(filename, trust=trust)
    digest = sha256(filename)
    check_name(filename, digest)
    released = recognise(weights_of(checkpoint, ema))
    if released.deploy:
        backbone = getattr(model, 'backbone', model)
        if hasattr(backbone, 'switch_to_deploy'):
            backbone.switch_to_deploy()
    return Conversion(
        match(released, model),
        digest,
        os.path.basename(filename),
        dataset_meta_of(checkpoint),
    )


@dataclass
class Conversion:
    """A released file that was fitted to a model.

    Args:
        match (Match): How they fit.
        sha256 (str): SHA-256 of the file.
        name (str): Its name.
        dataset_meta (dict): Classes and palette that it names.
    """

    match: Match
    sha256: str
    name: str
    dataset_meta: Dict[str, Any]

    def write(self, filename: str) -> None:
        """Write tensors and plain metadata, completely or not at all.

        Raises:
            CheckpointError: If a key of the file or of the model is not
                explained.
            UsageError: If the file cannot be written, or is the one that was
                read.
        """
        # by content, which links and copies share
        if os.path.isfile(filename) and sha256(filename) == self.sha256:
            raise UsageError(
                f'{filename} must not overwrite the input, but it is the '
                f'released file {self.name}; give OUT another name.'
            )
        if self.match.problems:
            raise CheckpointError(
                f'{self.name} does not fit the model of the config: '
                f'{self.match.problems}; nothing was written.'
            )
        meta: Dict[str, Any] = dict(
            source=dict(
                name=self.name,
                sha256=self.sha256,
                layout=self.match.layout,
                form=_form(self.match.deploy),
            )
        )
        if self.dataset_meta:
            meta['dataset_meta'] = self.dataset_meta
        state: Dict[str, Tensor] = {
            # a copy without the storage that it was a view of
            key: value.detach()
            .cpu()
            .clone(memory_format=torch.contiguous_format)
            for key, value in self.match.state.items()
        }
        with replaced(Path(filename)) as path:
            torch_save(dict(state_dict=state, meta=meta), path)
