"""The generated cue-conflict set, trained on and measured."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from mmrep.analysis.shape_bias import list_stimuli
from mmrep.analysis.sixteen_classes import SIXTEEN_CLASSES

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools/dataset_converters/make_cue_conflict.py'
CLASSES = ('cross', 'disc', 'ring', 'square', 'star', 'triangle')


@pytest.fixture(scope='module')
def cue_root(run_tool, tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'cue_conflict'
    done = run_tool(
        SCRIPT, out, '--train', 8, '--val', 2, '--conflict', 1, '--size', 64
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def run_shape_bias(monkeypatch):
    """Run tools/analysis/shape_bias.py in this process."""

    def run(*args):
        argv = ['shape_bias.py', *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        script = ROOT / 'tools/analysis/shape_bias.py'
        runpy.run_path(str(script), run_name='__main__')

    return run


def test_layout(cue_root):
    for split, count in (('train', 8), ('val', 2), ('cue_conflict', 6)):
        folders = sorted(path.name for path in (cue_root / split).iterdir())
        assert tuple(folders) == CLASSES
        for name in folders:
            files = list((cue_root / split / name).iterdir())
            assert len(files) == count
            assert cv2.imread(str(files[0])).shape == (64, 64, 3)
    stimuli = list_stimuli(str(cue_root / 'cue_conflict'), CLASSES)
    pairs = {(s.shape, s.texture) for s in stimuli}
    assert len(stimuli) == len(pairs) == 36


def test_cues_are_what_the_names_say(cue_root, monkeypatch):
    """Discs are round whatever covers them, and stripes are stripes."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import make_cue_conflict as script

    rng = np.random.default_rng(0)
    for name in CLASSES:
        fill = []
        for _ in range(20):
            mask = script.make_mask(rng, name, 96)
            assert not (mask[0].any() or mask[:, 0].any()), 'it is whole'
            (contour,), _ = cv2.findContours(
                mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            _, radius = cv2.minEnclosingCircle(contour)
            fill.append(mask.sum() / (np.pi * radius**2))
        low, high = dict(
            disc=(0.85, 1.1), ring=(0.55, 0.8), square=(0.55, 0.75),
            triangle=(0.35, 0.5), cross=(0.45, 0.75), star=(0.2, 0.45),
        )[name]  # fmt: skip
        assert low < min(fill) and max(fill) < high, (name, fill)
    patterns = {}
    for name, texture in script.TEXTURES.items():
        pattern = script.make_pattern(rng, texture, 96)
        assert pattern.shape == (96, 96)
        assert pattern.min() >= 0 and pattern.max() <= 1
        assert pattern.std() > 0.2
        patterns[name] = pattern
    # only grain has more than two values
    values = {name: len(np.unique(p)) for name, p in patterns.items()}
    assert [name for name in values if values[name] > 2] == ['star']


def test_seed_decides_and_folders_are_kept(run_tool, cue_root, tmp_path):
    done = run_tool(
        SCRIPT, tmp_path / 'other', '--train', 1, '--val', 1, '--conflict', 1,
        '--size', 64, '--seed', 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image = Path('train/disc/disc00000.png')
    assert (cue_root / image).read_bytes() != (
        tmp_path / 'other' / image
    ).read_bytes()
    done = run_tool(SCRIPT, cue_root)
    assert done.returncode == 1 and 'must not exist' in done.stderr


@pytest.mark.slow
def test_training_and_shape_bias(
    run_tool, run_shape_bias, cue_root, tmp_path, capfd
):
    config = ROOT / 'configs/classifier_replknet-tiny_cue-conflict.py'
    options = [
        'model.backbone.arch.channels="[8,8,8]"', 'model.in_channels=8',
        'model.backbone.arch.kernel_sizes="[7,5,3]"',
        'model.backbone.arch.small_kernel=None',
    ]  # fmt: skip
    done = run_tool(
        ROOT / 'tools/train.py', config, '--work-dir', tmp_path,
        '--data-root', cue_root, '--cfg-options', *options,
        'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
        'default_hooks.checkpoint.interval=1',
        'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.persistent_workers=False',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'accuracy/top1' in log and 'loss: ' in log
    run_shape_bias(
        config, tmp_path / 'epoch_1.pth',
        '--images', cue_root / 'cue_conflict',
        '--out', tmp_path / 'bias.json', '--cfg-options', *options,
    )  # fmt: skip
    found = json.loads((tmp_path / 'bias.json').read_text())
    assert found['images'] == 30 and len(found['decisions']) == 36
    hits = {}
    for cue, split in (('shape', 0), ('texture', 1)):
        hits[cue] = sum(
            decision == Path(name).stem.split('-')[split].rstrip('0123456789')
            for name, decision in found['decisions'].items()
            if len({part.rstrip('0123456789')
                    for part in Path(name).stem.split('-')}) == 2
        )  # fmt: skip
        assert hits[cue] == sum(found[cue].values())
    if sum(hits.values()):
        bias = hits['shape'] / sum(hits.values())
        assert found['shape_bias'] == pytest.approx(bias)
        assert f'shape bias: {bias:.1%}' in capfd.readouterr().out


def test_the_pair_differs_in_kernels_alone():
    large, small = (
        Config.fromfile(
            ROOT / f'configs/classifier_replknet-tiny{kind}_cue-conflict.py'
        ).to_dict()
        for kind in ('', '-k3')
    )
    models = [MODELS.build(cfg['model']) for cfg in (large, small)]
    sizes = [
        [
            stage.blocks[0].large_kernel.lkb_origin.conv.kernel_size[0]
            for stage in model.backbone.stages
        ]
        for model in models
    ]
    assert sizes == [[15, 9, 5], [3, 3, 3]]
    for cfg in (large, small):
        del cfg['model']['backbone']['arch']['kernel_sizes']
        del cfg['model']['backbone']['arch']['small_kernel']
    assert large == small


@pytest.fixture
def imagenet(tmp_path):
    """A classifier of 1,000 classes and images in the published layout."""
    arch = dict(
        channels=(8, 8), depths=(1, 1), kernel_sizes=(5, 3), small_kernel=None
    )
    config = tmp_path / 'imagenet.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/classifier_replknet31b_imagenet.py'\n"
        'model = dict(in_channels=8, backbone=dict(out_indices=(1,),\n'
        f'    arch=dict(_delete_=True, **{arch})))\n'
    )
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
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
    return model, config


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
        ([config, tmp_path / 'model.pth', *images, '--size', 0], 'from 1'),
        ([config, tmp_path / 'absent.pth', *images], 'absent.pth'),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run_shape_bias(*arguments)
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith('error: ') and message in line
        assert stopped.value.code == 1
