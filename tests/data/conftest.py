"""Models and their data, as a run builds them."""

import shutil
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, METRICS

from mmrep.deploy import build_model
from mmrep.engine import load_config, set_data_root

CONFIG = Path(__file__).parents[2] / 'configs/upernet_replknet-tiny_shapes.py'
SMALL = {
    'model.backbone.arch.depths': [1, 1, 1, 1],
    'model.backbone.arch.kernel_sizes': [7, 7, 5, 5],
    'model.backbone.arch.channels': [8, 8, 8, 8],
    'model.decode_head.in_channels': [8, 8, 8, 8],
    'model.decode_head.channels': 8,
    'model.auxiliary_head.in_channels': 8,
    'model.auxiliary_head.channels': 8,
}


@pytest.fixture
def cfg(shapes_root):
    """A config that is cheap to build; tests change it."""
    cfg = load_config(str(CONFIG), SMALL)
    set_data_root(cfg, str(shapes_root))
    return cfg


@pytest.fixture
def built():
    """Model, data set and metrics of a config, of one of its loaders."""

    def build(cfg, key='train_dataloader'):
        model = build_model(cfg)
        dataset = DATASETS.build(cfg[key].dataset)
        evaluator = key.replace('_dataloader', '_evaluator')
        metrics = []
        if evaluator in cfg:
            metrics = [METRICS.build(cfg[evaluator])]
        return model, dataset, metrics

    return build


@pytest.fixture
def coco_root(shapes_root, tmp_path):
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


@pytest.fixture
def coco_cfg(coco_root):
    """A config of a detector with masks; tests change it or its files."""
    path = CONFIG.with_name('cascade-mask-rcnn_replknet-tiny_shapes.py')
    cfg = load_config(str(path))
    set_data_root(cfg, str(coco_root))
    return cfg
