"""The Python of the documentation runs, and its configs can be read."""

import ast
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from mmrep.deploy import reparameterize
from mmrep.engine import load_config

from .pages import PAGES, ROOT, blocks, build_backbone

# Too long to run twice: what a test elsewhere runs.
TESTED = {
    "onnxruntime.InferenceSession('segmentor.onnx')": (
        'deploy/test_scripts.py',
        'test_segmentor',
    ),
    "onnxruntime.InferenceSession('detector.onnx')": (
        'deploy/test_scripts.py',
        'test_detector',
    ),
    'cv2.warpAffine(mask, back': ('deploy/test_scripts.py', 'test_masks'),
}
CODE = [
    pytest.param(block, id=block.where)
    for page in PAGES
    for block in blocks(page)
    if block.language == 'python'
]


def is_config(tree: ast.Module) -> bool:
    """Whether there is nothing but dicts and strings."""
    values = [getattr(s, 'value', None) for s in tree.body]
    return all(
        isinstance(v, ast.Constant)
        or (isinstance(v, ast.Call) and getattr(v.func, 'id', '') == 'dict')
        for v in values
    )


def check_config(code: str, folder: Path) -> None:
    """The config can be read, and names a backbone that can be built."""
    path = folder / 'documented.py'
    path.write_text(code)
    cfg = Config.fromfile(str(path))
    build_backbone(cfg.get('model') or {})


@pytest.fixture
def names(small_segmentor, shapes_root, tmp_path, monkeypatch) -> dict:
    """What the pages speak of before their code, and its files."""
    monkeypatch.chdir(tmp_path)
    os.symlink(shapes_root / 'images/validation', 'pictures')
    config, checkpoint = map(str, small_segmentor)
    layer = nn.Conv2d(8, 8, 9, padding=4, groups=8)
    return dict(
        F=F,
        x=torch.rand(1, 8, 16, 16),
        weight=layer.weight,
        bias=layer.bias,
        Kh=9,
        Kw=9,
        C=8,
        model=nn.Sequential(layer),
        images=torch.rand(1, 8, 16, 16),
        _config=config,
        _checkpoint=checkpoint,
    )


@pytest.mark.parametrize('block', CODE)
def test_code(block, names, tmp_path):
    for code, (path, test) in TESTED.items():
        if code in block.code:
            assert f'def {test}(' in (ROOT / 'tests' / path).read_text()
            return
    tree = ast.parse(block.code)
    if is_config(tree):
        check_config(block.code, tmp_path)
        return
    if "'merged.pth'" in block.code:
        noise = dict(noise=torch.rand(1, 3, 64, 64))
        cfg = load_config(names['_config'])
        reparameterize(cfg, names['_checkpoint'], 'merged.pth', noise)
    # the same on smaller pictures
    exec(block.code.replace('512, 512', '64, 64'), names)


def test_there_is_code():
    assert len(CODE) > 8
