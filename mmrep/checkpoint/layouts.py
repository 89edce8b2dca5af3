"""How released files name their tensors: one function per source layout.

Each function takes the tensors of a file by name, without wrappers such as
``module.``, and returns them sorted into a :class:`Released`, or None if the
file is not of its layout. :data:`LAYOUTS` lists them in the order in which
they are tried. To support another family, add its functions there.
"""

import re
from dataclasses import dataclass, field
from typing import Callable, Dict, Optional, Tuple

from torch import Tensor

State = Dict[str, Tensor]

# Parts of MMSegmentation's and MMDetection's models besides the backbone.
_DOWNSTREAM_PARTS = (
    'neck.',
    'decode_head.',
    'auxiliary_head.',
    'rpn_head.',
    'roi_head.',
    'bbox_head.',
)
_OVERLOCK_KERNEL = 'blocks1.0.proj.1.lk_origin.weight'
_STAGE_NORM = re.compile(r'stages\.(\d+)\.norm\.')


@dataclass
class Released:
    """The tensors of a released file, sorted.

    Args:
        layout (str): Name of the layout.
        backbone (dict): Tensors of the backbone, under our backbone's names.
        heads (dict): Neck and heads of a segmentor or detector, under the
            names of the model.
        classifier (dict): The ImageNet classifier after the backbone: its norm
            as ``norm.*`` and its linear layer as ``head.*``.
        deploy (bool): Whether re-parameterized branches are merged.
    """

    layout: str
    backbone: State
    heads: State = field(default_factory=dict)
    classifier: State = field(default_factory=dict)
    deploy: bool = False


def downstream(state: State) -> Optional[Released]:
    """Segmentors and detectors of MMSegmentation and MMDetection, any version.

    Parts have their model's names. The norms under ``stages.*.norm`` are
    RepLKNet-XL's output norms.
    """
    if not any(key.startswith(_DOWNSTREAM_PARTS) for key in state):
        return None
    backbone = _below(state, 'backbone.')
    if not _is_known(backbone):
        return None
    return Released(
        'segmentor or detector',
        backbone,
        heads={k: v for k, v in state.items() if not _in_backbone(k)},
        deploy=_is_merged(backbone),
    )


def replknet_mmpretrain(state: State) -> Optional[Released]:
    """MMPretrain's classifiers: ``backbone.*`` and ``head.fc.*``.

    MMPretrain calls the norm in front of the classifier
    ``backbone.stages.3.norm``. XL's output norms downstream have similar
    names, but there every stage has one.
    """
    backbone = _below(state, 'backbone.')
    others = {k for k in state if not _in_backbone(k)}
    if not _is_replknet(backbone) or any(
        not key.startswith('head.fc.') for key in others
    ):
        return None
    released = Released('MMPretrain', backbone, deploy=_is_merged(backbone))
    for key in others:
        name = key.replace('head.fc.', 'head.')
        released.classifier[name] = state[key]
    _take_classifier_norm(released)
    return released


def replknet_authors(state: State) -> Optional[Released]:
    """The authors' own files: ``stem.*``, ``stages.*``, ``norm``, ``head``."""
    if not _is_replknet(state):
        return None
    released = _split_classifier(state)
    if not released.classifier:
        # a backbone cut out of one of MMPretrain's files
        _take_classifier_norm(released)
    return released


def unireplknet_authors(state: State) -> Optional[Released]:
    """The authors' own files: ``downsample_layers.*``, ``norm``, ``head``.

    A backbone saved downstream has its output norms, ``norm0`` to ``norm3``.
    """
    return _split_classifier(state) if _is_unireplknet(state) else None


def overlock_authors(state: State) -> Optional[Released]:
    """The authors' own files: ``patch_embed1.*``, ``head``, ``aux_head``.

    A backbone saved downstream has its output norms, ``extra_norm``.
    """
    return _split_classifier(state) if _is_overlock(state) else None


def ours(state: State) -> Optional[Released]:
    """Our own backbones, which are not in the authors' files.

    These are UniRepLKNet in a :class:`mmrep.models.ImageClassifier`, and
    LargeKernelMobileNetV2, which has no released files, in it or alone.
    """
    backbone = _below(state, 'backbone.')
    if not backbone and _is_mobilenet(state):
        return Released('mmrep', state, deploy=_is_merged(state))
    if not _is_known(backbone):
        return None
    head = _below(state, 'head.fc.')
    if len(backbone) + len(head) < len(state):
        return None
    return Released(
        'mmrep',
        backbone,
        classifier={f'head.{key}': value for key, value in head.items()},
        deploy=_is_merged(backbone),
    )


LAYOUTS: Tuple[Callable[[State], Optional[Released]], ...] = (
    downstream,
    replknet_mmpretrain,
    replknet_authors,
    unireplknet_authors,
    overlock_authors,
    ours,
)
"""Functions that know a layout: each takes a state dict and returns its
tensors sorted as :class:`Released`, or None. They are tried in this order."""


def _in_backbone(key: str) -> bool:
    return key.startswith('backbone.')


def _below(state: State, prefix: str) -> State:
    return {
        key[len(prefix) :]: value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def _is_replknet(state: State) -> bool:
    return 'stem.0.conv.weight' in state and any(
        '.large_kernel.' in key for key in state
    )


def _is_unireplknet(state: State) -> bool:
    return 'downsample_layers.0.0.weight' in state and any(
        '.dwconv.' in key for key in state
    )


def _is_overlock(state: State) -> bool:
    return {'patch_embed1.0.weight', _OVERLOCK_KERNEL} <= state.keys()


def _is_mobilenet(state: State) -> bool:
    return 'stem.conv.weight' in state and any(
        '.large_kernel.' in key for key in state
    )


def _is_known(state: State) -> bool:
    return any(
        kind(state)
        for kind in (
            _is_replknet,
            _is_unireplknet,
            _is_overlock,
            _is_mobilenet,
        )
    )


def _is_merged(state: State) -> bool:
    """Whether the blocks of any family are in deploy form."""
    if _is_overlock(state):
        return _OVERLOCK_KERNEL.replace('weight', 'bias') in state
    if _is_unireplknet(state):
        # merging removes the norm after every depth-wise convolution
        return 'stages.0.0.norm.weight' not in state
    return any('.lkb_reparam.' in key for key in state)


def _split_classifier(state: State) -> Released:
    released = Released('authors', {}, deploy=_is_merged(state))
    for key, value in state.items():
        is_classifier = key.split('.')[0] in ('norm', 'head', 'aux_head')
        part = released.classifier if is_classifier else released.backbone
        part[key] = value
    return released


def _take_classifier_norm(released: Released) -> None:
    """Move a norm that only the last stage has to the classifier."""
    stages = [int(n) for n in map(_stage_of, released.backbone) if n]
    norms = [key for key in released.backbone if _STAGE_NORM.match(key)]
    if {int(_stage_of(key)) for key in norms} != {max(stages)}:
        return
    for key in norms:
        name = 'norm.' + key.rpartition('.')[2]
        released.classifier[name] = released.backbone.pop(key)


def _stage_of(key: str) -> str:
    parts = key.split('.')
    return parts[1] if parts[0] == 'stages' else ''
