"""tools/analysis/shape_bias.py on a classifier of ImageNet."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from mmrep.analysis.sixteen_classes import SIXTEEN_CLASSES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_shape_bias(monkeypatch):
    """Run tools/analysis/shape_bias.py in this process."""

    def run(*args):
        argv = ['shape_bias.py', *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        script = ROOT / 'tools/analysis/shape_bias.py'
        runpy.run_path(str(script), run_name='__main__')

    return run


@pytest.fixture
def imagenet(small_classifier, tmp_path):
    """A classifier of 1,000 classes and images in the published layout."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(small_classifier).model).eval()
    # so that not one category is the most likely for all images
    torch.nn.init.normal_(model.head.fc.weight, std=20)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    rng = np.random.default_rng(0)
    names = sorted(SIXTEEN_CLASSES)
    for i, name in enumerate(names):
        folder = tmp_path / 'stimuli' / name
        folder.mkdir(parents=True)
        for j in range(3):
            pixels = rng.integers(0, 256, (7, 7, 3), np.uint8)
            image = Image.fromarray(pixels).resize((224, 224))
            image.save(folder / f'{name}{j + 1}-{names[i - j]}1.png')
    return model, small_classifier


@pytest.mark.slow
def test_imagenet_classifier(run_shape_bias, imagenet, tmp_path, capfd):
    """Against the authors' steps: the whole image, softmax, means."""
    model, config = imagenet
    run_shape_bias(
        config, tmp_path / 'model.pth', '--images', tmp_path / 'stimuli',
        '--out', tmp_path / 'bias.json', '--batch-size', 5,
    )  # fmt: skip
    found = json.loads((tmp_path / 'bias.json').read_text())
    assert found['images'] == 32 and len(found['decisions']) == 48
    seen = set()
    for name, decision in found['decisions'].items():
        pixels = np.array(Image.open(tmp_path / 'stimuli' / name), np.float32)
        mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        x = torch.from_numpy((pixels - mean) / std).float().permute(2, 0, 1)
        with torch.no_grad():
            p = model(x[None])[0].double().softmax(0).numpy()
        means = {n: p[list(i)].mean() for n, i in SIXTEEN_CLASSES.items()}
        assert decision == max(means, key=means.get)
        seen.add(decision)
    assert len(seen) > 2
    assert '32 images with a conflict (16 without' in capfd.readouterr().out


def test_wrong_input_ends_in_one_line(
    run_shape_bias, small_segmentor, imagenet, tmp_path, capfd
):
    _, config = imagenet
    images = ['--images', tmp_path / 'stimuli']
    (tmp_path / 'stimuli/cat/cat1-lion1.png').touch()
    for arguments, message in [
        ([config, tmp_path / 'model.pth', *images], 'got cat/cat1-lion1.png'),
        ([*small_segmentor, *images], 'got EncoderDecoder'),
        ([config, tmp_path / 'model.pth', *images, '--size', 0], 'at least 1'),
        ([config, tmp_path / 'absent.pth', *images], 'absent.pth'),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run_shape_bias(*arguments)
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith('error: ') and message in line
        assert stopped.value.code == 1
