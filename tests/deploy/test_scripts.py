"""The scripts of docs/deployment.md, where there is no PyTorch."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.runner import save_checkpoint

from mmrep.apis import Inferencer
from mmrep.deploy import build_model, load_model
from mmrep.deploy.export import export_onnx
from mmrep.deploy.whole import whole_model
from mmrep.deploy.whole.metadata import describe_whole
from mmrep.engine import load_config

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^```python\n(.*?)^```$', re.M | re.S)
# what the scripts import, and what that imports
PACKAGES = ('cv2', 'numpy', 'onnxruntime', 'numpy.libs', 'google')
PACKAGES += ('flatbuffers', 'packaging', 'opencv_python.libs')
PACKAGES += ('opencv_python_headless.libs',)


def script(file):
    text = (ROOT / 'docs/deployment.md').read_text()
    (code,) = (c for c in FENCE.findall(text) if file in c)
    assert len([line for line in code.splitlines() if line]) <= 16
    return code


def run_alone(code, folder):
    """Run code with nothing but a few packages; return what it prints."""
    packages = folder / 'packages'
    packages.mkdir()
    site = Path(find_spec('numpy').origin).parents[1]
    for name in PACKAGES:
        if (site / name).exists():
            (packages / name).symlink_to(site / name)
    path = folder / 'script.py'
    alone = 'from importlib.util import find_spec\n'
    for name in ('torch', 'mmengine', 'mmcv', 'mmrep'):
        alone += f'assert find_spec("{name}") is None\n'
    path.write_text(f'{alone}{code}')
    done = subprocess.run(
        [sys.executable, '-S', str(path)],
        env={**os.environ, 'PYTHONPATH': str(packages)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_picture(path):
    noise = np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)
    picture = cv2.resize(noise, (150, 110), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), picture)


def export(cfg, checkpoint, path, masks='pasted'):
    model = load_model(cfg, str(checkpoint), deploy=True)
    module = whole_model(model, masks=masks)
    about = describe_whole(cfg, model.dataset_meta, module)
    export_onnx(module, str(path), (64, 96), metadata=about)


@pytest.mark.slow
def test_segmentor(small_segmentor, tmp_path):
    cfg = load_config(str(small_segmentor[0]))
    export(cfg, small_segmentor[1], tmp_path / 'segmentor.onnx')
    write_picture(tmp_path / 'picture.jpg')
    code = script('segmentor.onnx') + "np.save('labels.npy', labels)\n"
    run_alone(code, tmp_path)
    infer = Inferencer(cfg, str(small_segmentor[1]), device='cpu')
    expected = infer.predict(tmp_path / 'picture.jpg').pred_sem_seg.data[0]
    found = np.load(tmp_path / 'labels.npy')
    assert found.shape == (110, 150) and len(np.unique(found)) > 2
    assert (found == expected.numpy()).mean() >= 0.999


@pytest.mark.slow
def test_detector(tmp_path, randomise):
    cfg = load_config(
        str(ROOT / 'configs/fcos_replknet-tiny_shapes.py'),
        {
            'model.backbone.arch.depths': [1, 1, 1, 1],
            'model.backbone.arch.kernel_sizes': [13, 9, 7, 5],
        },
    )
    model = randomise(build_model(cfg))
    # scores that the script prints
    model.bbox_head.conv_cls.bias.data.fill_(0.5)
    model.bbox_head.conv_centerness.bias.data.fill_(1.0)
    save_checkpoint(dict(state_dict=model.state_dict()), f'{tmp_path}/m.pth')
    export(cfg, tmp_path / 'm.pth', tmp_path / 'detector.onnx')
    write_picture(tmp_path / 'picture.jpg')
    lines = run_alone(script('detector.onnx'), tmp_path).splitlines()
    infer = Inferencer(cfg, str(tmp_path / 'm.pth'), device='cpu')
    sample = infer.predict(tmp_path / 'picture.jpg').pred_instances
    sample = sample[sample.scores > 0.3]
    assert len(lines) == len(sample) > 10
    names = infer.meta['classes']
    for line, label, score, box in zip(
        lines, sample.labels, sample.scores, sample.bboxes, strict=True
    ):
        name, found, corners = line.split(maxsplit=2)
        assert name == names[label]
        assert float(found) == pytest.approx(score.item(), abs=1e-3)
        corners = np.array(corners.strip('[]').split(), float)
        np.testing.assert_allclose(corners, box, atol=0.05)


@pytest.mark.slow
def test_masks(tmp_path, randomise):
    cfg = load_config(
        str(ROOT / 'configs/cascade-mask-rcnn_replknet-tiny_shapes.py'),
        {
            'model.backbone.arch.depths': [1, 1, 1, 1],
            'model.backbone.arch.kernel_sizes': [13, 9, 7, 5],
            'model.test_cfg.rpn.max_per_img': 20,
            'model.test_cfg.rcnn.max_per_img': 10,
        },
    )
    model = randomise(build_model(cfg))
    save_checkpoint(dict(state_dict=model.state_dict()), f'{tmp_path}/m.pth')
    export(cfg, tmp_path / 'm.pth', tmp_path / 'detector.onnx', 'raw')
    write_picture(tmp_path / 'picture.jpg')
    code = f'{script("detector.onnx")}drawn = []\n{script("warpAffine")}'
    code += "    drawn.append(inside)\nnp.save('masks.npy', drawn)\n"
    run_alone(code, tmp_path)
    infer = Inferencer(cfg, str(tmp_path / 'm.pth'), device='cpu')
    sample = infer.predict(tmp_path / 'picture.jpg').pred_instances
    found, expected = np.load(tmp_path / 'masks.npy'), sample.masks.numpy()
    assert found.shape == expected.shape and 5 < len(found) <= 10
    assert expected.any()
    assert (found == expected).mean() >= 0.999
