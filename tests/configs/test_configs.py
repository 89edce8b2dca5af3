"""Every shipped config: it parses, builds, trains and tests on fake data."""

import ast
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from torch import nn

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(CONFIGS.glob('*.py'))
SEGMENTORS = [path for path in LEAVES if path.name.startswith('upernet')]


def ids(path):
    return path.stem


def build(cfg, device='cpu'):
    cfg.model.backbone.pop('init_cfg', None)  # nothing is downloaded
    with DefaultScope.overwrite_default_scope('mmseg'):
        with torch.device(device):
            return revert_sync_batchnorm(MODELS.build(cfg.model))


def test_there_are_configs():
    names = {path.stem for path in LEAVES}
    assert names >= {
        'upernet_replknet31b_ade20k',
        'upernet_replknet31b_cityscapes',
        'upernet_replknet-tiny_camvid',
        'upernet_replknet-tiny_shapes',
    }


def test_every_base_is_used():
    used, pending = set(), list(LEAVES)
    while pending:
        path = pending.pop()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
                value = ast.literal_eval(node.value)
                for base in [value] if isinstance(value, str) else value:
                    pending.append((path.parent / base).resolve())
                    used.add(pending[-1])
    assert used == set((CONFIGS / '_base_').rglob('*.py'))


@pytest.mark.parametrize('path', SEGMENTORS, ids=ids)
def test_training_and_prediction(path):
    cfg = Config.fromfile(path)
    model = build(cfg)
    classes = cfg.model.decode_head.num_classes
    assert cfg.model.auxiliary_head.num_classes == classes
    sample = SegDataSample(
        metainfo=dict(ori_shape=(64, 96), img_shape=(50, 70))
    )
    labels = torch.randint(classes, (1, 64, 96))
    sample.gt_sem_seg = PixelData(data=labels)
    data = dict(
        inputs=[torch.randint(256, (3, 64, 96), dtype=torch.uint8)] * 2,
        data_samples=[sample, sample.clone()],
    )
    size = model.data_preprocessor.size
    model.data_preprocessor.size = (64, 96)  # fewer pixels
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss = sum(v for k, v in losses.items() if 'loss' in k)
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert loss.isfinite() and not idle

    # an image as the test pipeline leaves it: of any size
    model.eval()
    data = dict(
        inputs=[torch.randint(256, (3, 50, 70), dtype=torch.uint8)],
        data_samples=[sample],
    )
    with torch.no_grad():
        result = model.test_step(data)[0]
    assert result.pred_sem_seg.data.shape == (1, 64, 96)
    crop = cfg.crop_size
    assert size == crop, 'images are padded to the crop size'


@pytest.mark.parametrize('path', SEGMENTORS, ids=ids)
def test_pipelines(path):
    cfg = Config.fromfile(path)
    train = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    assert 'LoadAnnotations' in train and 'RandomCrop' in train
    test = [t.type for t in cfg.test_dataloader.dataset.pipeline]
    assert test.index('Resize') < test.index('LoadAnnotations')
    with DefaultScope.overwrite_default_scope('mmseg'):
        for name in ('train', 'val', 'test'):
            for t in cfg[f'{name}_dataloader'].dataset.pipeline:
                TRANSFORMS.build(t)
        for t in cfg.tta_pipeline:
            TRANSFORMS.build(t)


@pytest.mark.parametrize('path', SEGMENTORS, ids=ids)
def test_augmented_scales_are_ratios_of_the_test_scale(path):
    cfg = Config.fromfile(path)
    scale = next(
        t.scale
        for t in cfg.test_dataloader.dataset.pipeline
        if t.type == 'Resize'
    )
    resizes, flips = cfg.tta_pipeline[-1].transforms[:2]
    assert [t.scale for t in resizes] == [
        (int(scale[0] * r), int(scale[1] * r))
        for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    ]
    assert [t.prob for t in flips] == [0, 1]


@pytest.mark.parametrize('path', SEGMENTORS, ids=ids)
def test_schedule_ends_with_training(path):
    cfg = Config.fromfile(path)
    warmup, poly = cfg.param_scheduler
    assert warmup.end == poly.begin
    assert poly.end == cfg.train_cfg.max_iters
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    interval = cfg.default_hooks.checkpoint.interval
    assert interval == cfg.train_cfg.val_interval


def test_published_parameter_count():
    """112 M (the paper's): deploy form, without the auxiliary head."""
    cfg = Config.fromfile(CONFIGS / 'upernet_replknet31b_ade20k.py')
    cfg.model.backbone.deploy = True
    model = build(cfg, 'meta')
    model.auxiliary_head = None
    count = sum(p.numel() for p in model.parameters())
    assert round(count / 1e6) == 112, count


@pytest.mark.parametrize(
    'name, iters, batch, crop, align_corners',
    [
        ('upernet_replknet31b_ade20k', 160_000, 32, 512, False),
        ('upernet_replknet31b_cityscapes', 80_000, 16, 769, True),
    ],
)
def test_published_recipe(name, iters, batch, crop, align_corners):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.train_cfg.max_iters == iters
    assert cfg.train_dataloader.batch_size * 8 == batch
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.crop_size == (crop, crop)
    assert cfg.model.decode_head.align_corners is align_corners
    assert cfg.model.auxiliary_head.align_corners is align_corners
    assert cfg.model.backbone.drop_path_rate == 0.5
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 2e-4)
    assert optimizer.weight_decay == 0.05


def test_norms_have_no_weight_decay():
    from mmengine.optim import build_optim_wrapper

    cfg = Config.fromfile(CONFIGS / 'upernet_replknet-tiny_shapes.py')
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.param_groups
        for p in group['params']
    }
    for module in model.modules():
        for p in module.parameters(recurse=False):
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            assert decay[id(p)] == (0 if norm else 0.05)


def test_inheriting_from_another_folder(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{CONFIGS}/upernet_replknet31b_ade20k.py'\n"
        'model = dict(backbone=dict(with_cp=True))\n'
        "train_dataloader = dict(dataset=dict(data_root='/data/ade'))\n"
    )
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.with_cp is True
    assert cfg.model.backbone.arch == '31B'
    assert cfg.train_dataloader.dataset.data_root == '/data/ade'
    assert cfg.custom_imports.imports == ['mmrep']
