"""tools/test.py with whole detectors in files, as a user runs it."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from mmrep.deploy import build_model
from mmrep.deploy.runtime.parts import PARTS
from mmrep.engine import load_config

ROOT = Path(__file__).parents[2]
EXPORT, TEST = ROOT / 'tools/export.py', ROOT / 'tools/test.py'
BENCHMARK = ROOT / 'tools/benchmarks/benchmark_exported.py'
FCOS = 'fcos_replknet-tiny_shapes'
CASCADE = 'cascade-mask-rcnn_replknet-tiny_shapes'
SMALL = """
_base_ = '{root}/configs/{name}.py'
model = dict(
    backbone=dict(arch=dict(depths=(1, 1, 1, 1), kernel_sizes=(13, 9, 7, 5))),
    test_cfg={test_cfg},
)
test_dataloader = dict(dataset=dict(data_root='{data}', indices=3))
test_evaluator = dict(
    ann_file='{data}/annotations/instances_validation.json')
"""
TEST_CFG = {
    FCOS: 'dict(max_per_img=20)',
    CASCADE: 'dict(rpn=dict(max_per_img=20), rcnn=dict(max_per_img=10))',
}


@pytest.fixture
def detector(tmp_path, shapes_root, randomise):
    """Config and checkpoint of a small detector that finds much."""
    data = tmp_path / 'shapes'
    shutil.copytree(shapes_root, data)
    noise = np.random.RandomState(0)
    for path in (data / 'images/validation').iterdir():
        # plain ground has many anchors of the very same score
        picture = noise.randint(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(path), picture)

    def make(name):
        config = tmp_path / 'small.py'
        config.write_text(
            SMALL.format(
                root=ROOT,
                name=name,
                test_cfg=TEST_CFG[name],
                data=data,
            )
        )
        model = randomise(build_model(load_config(str(config))))
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'm.pth')
        return config, tmp_path / 'm.pth'

    return make


def run(run_tool, *args):
    done = run_tool(*args, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


def found(folder, kind):
    return json.loads((folder / f'predictions.{kind}.json').read_text())


def same(one, other):
    keys = ('image_id', 'category_id')
    if any(one[key] != other[key] for key in keys):
        return False
    if abs(one['score'] - other['score']) > 1e-3:
        return False
    if 'segmentation' in one:
        masks = [coco_masks.decode(x['segmentation']) for x in (one, other)]
        return (masks[0] != masks[1]).sum() <= 1
    return np.abs(np.subtract(one['bbox'], other['bbox'])).max() < 0.05


def check_same(expected, others):
    assert len(expected) == len(others) > 10
    alone = [one for one in expected if not any(same(one, o) for o in others)]
    assert len(alone) <= len(expected) // 50


@pytest.mark.slow
def test_one_stage(run_tool, detector, tmp_path):
    config, checkpoint = detector(FCOS)
    files = [checkpoint]
    for suffix in ('.onnx', '.pt2'):
        files.append(tmp_path / f'm{suffix}')
        run(run_tool, EXPORT, config, checkpoint, files[-1])
    for file in files:
        out = tmp_path / file.suffix[1:]
        run(
            run_tool, TEST, config, file, '--work-dir', tmp_path / 'work',
            '--aug-test', '--out', out, '--show-dir', out / 'pictures',
            '--trust-checkpoint',
        )  # fmt: skip
        assert len(list((out / 'pictures').rglob('*.*'))) == 3
        check_same(found(tmp_path / 'pth', 'bbox'), found(out, 'bbox'))


@pytest.mark.slow
def test_masks(run_tool, detector, tmp_path):
    config, checkpoint = detector(CASCADE)
    file = tmp_path / 'm.onnx'
    run(run_tool, EXPORT, config, checkpoint, file, '--masks', 'raw')
    runs = dict(pth=[checkpoint], onnx=[file])
    if find_spec('openvino'):
        runs['openvino'] = [file, '--runtime', 'openvino']
    for name, model in runs.items():
        run(
            run_tool, TEST, config, *model, '--work-dir', tmp_path / 'work',
            '--out', tmp_path / name,
        )  # fmt: skip
        for kind in ('bbox', 'segm'):
            folders = tmp_path / 'pth', tmp_path / name
            check_same(*(found(folder, kind) for folder in folders))
    masks = [x['segmentation'] for x in found(tmp_path / 'pth', 'segm')]
    assert sum(map(coco_masks.area, masks)) > 50
    run(
        run_tool, BENCHMARK, file, '--shape', 64, 72, '--runs', 1, '--out',
        tmp_path / 'costs.json',
    )  # fmt: skip
    result = json.loads((tmp_path / 'costs.json').read_text())
    assert result['shape'] == [64, 72]
    assert set(result['milliseconds']) == {'whole', *PARTS}


def test_masks_of_views_need_features(run_tool, detector, tmp_path):
    config, _ = detector(CASCADE)
    (tmp_path / 'm.onnx').touch()
    done = run_tool(
        TEST, config, tmp_path / 'm.onnx', '--work-dir', tmp_path / 'work',
        '--aug-test',
    )  # fmt: skip
    assert done.returncode != 0 and 'Traceback' not in done.stderr
    assert 'error: --aug-test with masks needs the features' in done.stderr


def test_what_cannot_be_timed(run_tool, tmp_path):
    for name, options, text in (
        ('m.pt2', [], 'must end in .onnx'),
        ('m.onnx', ['--runs', '0'], '--runs must be positive'),
        ('m.onnx', [], 'must be an existing file'),
    ):
        done = run_tool(BENCHMARK, tmp_path / name, *options)
        assert done.returncode != 0 and 'Traceback' not in done.stderr
        assert text in done.stderr
