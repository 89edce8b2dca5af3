"""The generated cue-conflict set, trained on and measured."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrep.analysis.shape_bias import list_stimuli

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / 'tools'
SCRIPT = HERE / 'make_cue_conflict.py'
CLASSES = ('cross', 'disc', 'ring', 'square', 'star', 'triangle')


@pytest.fixture(scope='module')
def cue_root(run_tool, tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'cue_conflict'
    done = run_tool(
        SCRIPT, out, '--train', 8, '--val', 2, '--conflict', 1, '--size', 64
    )
    assert done.returncode == 0, done.stderr
    return out


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
    done = run_tool(SCRIPT, tmp_path / 'out', '--seed', -1)
    assert done.returncode == 2 and 'must be 0 or more' in done.stderr


def test_full_disk(run_tool, full):
    done = run_tool(SCRIPT, full / 'out', '--train', 1, '--val', 1)
    assert done.returncode == 1 and 'No space left' in done.stderr
    assert [path.name for path in full.iterdir()] == ['.filling']


@pytest.mark.slow
def test_training_and_shape_bias(run_tool, cue_root, tmp_path):
    config = HERE / 'configs/classifier_replknet-tiny_cue-conflict.py'
    options = [
        'model.backbone.arch.channels="[8,8,8]"', 'model.in_channels=8',
        'model.backbone.arch.kernel_sizes="[7,5,3]"',
        'model.backbone.arch.small_kernel=None',
    ]  # fmt: skip
    done = run_tool(
        TOOLS / 'train.py', config, '--work-dir', tmp_path,
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
    done = run_tool(
        TOOLS / 'analysis/shape_bias.py', config, tmp_path / 'epoch_1.pth',
        '--images', cue_root / 'cue_conflict',
        '--out', tmp_path / 'bias.json', '--cfg-options', *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
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
        assert f'shape bias: {bias:.1%}' in done.stdout


def test_the_pair_differs_in_kernels_alone():
    large, small = (
        Config.fromfile(
            HERE / f'configs/classifier_replknet-tiny{kind}_cue-conflict.py'
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
