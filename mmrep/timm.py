"""The backbones as models of timm.

After ``import mmrep.timm``, ``timm.create_model('replknet31b.mmrep',
features_only=True)`` returns a feature extractor, and
segmentation_models.pytorch has the encoder ``tu-replknet31b.mmrep``.
"""

from typing import Any, Dict, List, Optional, Sequence

import torch
from timm.models import FeatureInfo, generate_default_cfgs, register_model
from torch import Tensor, nn

from mmrep.checkpoint import fit_pretrained
from mmrep.errors import UsageError
from mmrep.models import WBMM, OverLoCK, RepLKNet, UniRepLKNet
from mmrep.models.backbones.base import StagedBackbone
from mmrep.models.initialise import initialise

__all__ = ['Features']

_MODELS = {
    **{f'replknet{a.lower()}': (RepLKNet, a) for a in RepLKNet.arch_settings},
    **{
        f'{kind.__name__.lower()}_{a.lower()}': (kind, a)
        for kind in (UniRepLKNet, OverLoCK, WBMM)
        for a in kind.arch_settings
    },
}
default_cfgs = generate_default_cfgs(
    {
        f'{name}.mmrep': dict(
            input_size=(3, 224, 224),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        for name in _MODELS
    }
)


class Features(nn.Module):
    """A backbone in the form of timm's feature extractors.

    Attributes:
        feature_info (FeatureInfo): Channels and strides of the maps.
        backbone (StagedBackbone): The backbone.
    """

    def __init__(
        self, backbone: StagedBackbone, feature_info: List[Dict[str, Any]]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_info = FeatureInfo(feature_info, backbone.out_indices)

    def forward(self, x: Tensor) -> List[Tensor]:
        """Maps of ``out_indices`` for images (N, in_chans, H, W)."""
        return list(self.backbone(x))


def _create(
    name: str,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Optional[Dict[str, Any]] = None,
    cache_dir: Any = None,
) -> Features:
    """Build the model that ``timm.create_model`` requests.

    Raises:
        UsageError: If a classifier is requested, or weights without a file.
    """
    if not features_only:
        raise UsageError(
            f'{name} is a backbone: timm.create_model needs '
            'features_only=True; to classify images, use '
            'mmrep.models.ImageClassifier.'
        )
    kind, arch = _MODELS[name]
    with torch.device('meta'):
        probe = kind(arch)
    with torch.device('cpu'):  # OverLoCK reads the values of the indices
        maps = probe(torch.rand(1, 3, 64, 64, device='meta'))
    info = [
        dict(num_chs=m.shape[1], reduction=64 // m.shape[2], module=f'{i}')
        for i, m in enumerate(maps)
    ]
    if isinstance(out_indices, int):  # timm's form of "the last N"
        out_indices = range(len(info))[-out_indices:]
    backbone = kind(
        arch,
        in_channels=in_chans,
        out_indices=[range(len(info))[i] for i in out_indices],
        drop_path_rate=drop_path_rate,
    )
    if not next(backbone.parameters()).is_meta:
        initialise(backbone)
    if pretrained:
        file = (pretrained_cfg_overlay or {}).get('file')
        if file is None:
            raise UsageError(
                f'{name} comes without weights: pass '
                'pretrained_cfg_overlay=dict(file=PATH), or drop pretrained.'
            )
        state = fit_pretrained(backbone, file).state
        backbone.load_state_dict(state, strict=False)
    return Features(backbone, info)


def _register(name: str) -> None:
    def entry(pretrained: bool = False, **kwargs: Any) -> Features:
        return _create(name, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name
    register_model(entry)


for _name in _MODELS:
    _register(_name)
