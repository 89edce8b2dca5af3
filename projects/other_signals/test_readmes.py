"""The numbers of parameters that the pages state."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmrep.registry import MODELS
from projects.other_signals import audio, point_cloud, video

PACKAGES = [audio, point_cloud, video]


@pytest.mark.parametrize('package', PACKAGES, ids=lambda p: p.__name__)
def test_parameters(package):
    folder = Path(package.__file__).parent
    page = (folder / 'README.md').read_text()
    configs, sizes = (
        re.search(rf'^\| {row} \| (.+) \| (.+) \|$', page, re.M).groups()
        for row in ('config', 'parameters')
    )
    for config, size in zip(configs, sizes, strict=True):
        cfg = Config.fromfile(folder / 'configs' / config.strip('`'))
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        count = sum(p.numel() for p in model.parameters()) / 1e6
        digits = 1 if count > 10 else 2
        assert size.startswith(f'{count:.{digits}f} M')
