"""Every shipped config: it parses, builds, trains and tests on fake data."""

import ast
import re

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from shipped_configs import (
    CONFIGS,
    DETECTORS,
    LEAVES,
    ROOT,
    SEGMENTORS,
    build,
    check_detector,
    check_segmentor,
    has_masks,
    heads,
    read,
)
from sweep import sweep
from torch import nn

# The larger sizes of a published config differ by a few numbers, which the
# files beside this one look at; the tests of projects/ train theirs.
TRAINED = {
    path
    for path in CONFIGS.glob('*.py')
    if not re.search(
        'replknet(31b-in22k|31l|xl)|unireplknet-(s|b|l|xl)(_|-in22k)'
        '|overlock-(s|b)_|overlock-t_coco-1x|wbmm-s_',
        path.stem,
    )
}
RATIOS = dict(mmseg=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), mmdet=(0.75, 1, 1.25))


def ids(path):
    return path.stem


def trained(paths):
    """Those that are trained; of the small ones the first is not slow."""
    found = TRAINED & set(paths)
    return sweep(sorted(found, key=lambda p: ('tiny' not in p.stem, p)))


def test_there_are_configs():
    names = {path.stem for path in LEAVES}
    assert names >= {
        'upernet_replknet31b_ade20k',
        'upernet_replknet31b_cityscapes',
        'upernet_replknet-tiny_camvid',
        'upernet_replknet-tiny_shapes',
        'cascade-mask-rcnn_replknet31b_coco',
        'cascade-mask-rcnn_replknet-tiny_shapes',
        'fcos_replknet31b_coco',
        'fcos_replknet-tiny_bccd',
        'fcos_replknet-tiny_shapes',
        'upernet_resnet50_camvid',
        'fcn_mobilenetv2_camvid',
        'cascade-rcnn_resnet50_bccd',
    }
    assert all(read(path).default_scope == 'mmdet' for path in DETECTORS)


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
    # a leaf may also start from another
    bases = [*ROOT.glob('configs/_base_/**/*.py')]
    bases += ROOT.glob('projects/**/configs/_base_/**/*.py')
    assert used - set(LEAVES) == set(bases)


@pytest.mark.parametrize('path', trained(SEGMENTORS), ids=ids)
def test_training_and_prediction(path):
    check_segmentor(path)


@pytest.mark.parametrize('path', trained(DETECTORS), ids=ids)
def test_training_and_detection(path):
    check_detector(path)


@pytest.mark.parametrize('path', DETECTORS, ids=ids)
def test_detection_data_fit_the_model(path):
    cfg = read(path)
    for mode in ('val', 'test'):
        dataset, metric = (
            cfg[f'{mode}_dataloader'].dataset,
            cfg[f'{mode}_evaluator'],
        )
        assert metric.ann_file == f'{dataset.data_root}{dataset.ann_file}'
        assert dataset.test_mode is True
        measured = metric.metric
        measured = [measured] if isinstance(measured, str) else measured
        assert measured == ['bbox', 'segm'][: 1 + has_masks(cfg)]
    for mode in ('train', 'val', 'test'):
        dataset = cfg[f'{mode}_dataloader'].dataset
        with DATASETS.switch_scope_and_registry('mmdet') as registry:
            default = registry.get(dataset.type).METAINFO
        classes = dataset.get('metainfo', default)['classes']
        assert {h.num_classes for h in heads(cfg.model)} == {len(classes)}
        for t in dataset.pipeline:
            if t.type == 'LoadAnnotations':
                assert t.with_bbox and t.get('with_mask', False) == has_masks(
                    cfg
                )
    expected = 'mmrep.InstanceTTAModel' if has_masks(cfg) else 'DetTTAModel'
    assert cfg.tta_model.type == expected
    assert cfg.model.data_preprocessor.get('pad_mask', False) == has_masks(cfg)


@pytest.mark.parametrize('path', SEGMENTORS + DETECTORS, ids=ids)
def test_pipelines(path):
    cfg = read(path)
    train = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    assert 'LoadAnnotations' in train and 'RandomFlip' in train
    if path in SEGMENTORS:
        assert 'RandomCrop' in train
    test = [t.type for t in cfg.test_dataloader.dataset.pipeline]
    assert test.index('Resize') < test.index('LoadAnnotations')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for name in ('train', 'val', 'test'):
            for t in cfg[f'{name}_dataloader'].dataset.pipeline:
                TRANSFORMS.build(t)
        for t in cfg.tta_pipeline:
            TRANSFORMS.build(t)


@pytest.mark.parametrize('path', SEGMENTORS + DETECTORS, ids=ids)
def test_augmented_scales_are_ratios_of_the_test_scale(path):
    cfg = read(path)
    scale = next(
        t.scale
        for t in cfg.test_dataloader.dataset.pipeline
        if t.type == 'Resize'
    )
    resizes, *others = cfg.tta_pipeline[-1].transforms
    flips = next(view for view in others if view[0].type == 'RandomFlip')
    assert [t.scale for t in resizes] == [
        (int(scale[0] * r), int(scale[1] * r))
        for r in RATIOS[cfg.default_scope]
    ]
    assert [t.prob for t in flips] == [0, 1]


@pytest.mark.parametrize('path', SEGMENTORS, ids=ids)
def test_schedule_ends_with_training(path):
    cfg = read(path)
    warmup, poly = cfg.param_scheduler
    assert warmup.end == poly.begin
    assert poly.end == cfg.train_cfg.max_iters
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    interval = cfg.default_hooks.checkpoint.interval
    assert interval == cfg.train_cfg.val_interval


@pytest.mark.parametrize('path', DETECTORS, ids=ids)
def test_epochs_end_with_training(path):
    cfg = read(path)
    warmup, decay = cfg.param_scheduler
    epochs = cfg.train_cfg.max_epochs
    assert not warmup.by_epoch and decay.end == epochs
    assert decay.get('T_max', epochs) == epochs
    assert all(step < epochs for step in decay.get('milestones', []))
    assert epochs % cfg.train_cfg.val_interval == 0
    interval = cfg.default_hooks.checkpoint.interval
    assert interval == cfg.train_cfg.val_interval


def test_published_parameter_count():
    """112 M (the paper's): deploy form, without the auxiliary head."""
    cfg = read(CONFIGS / 'upernet_replknet31b_ade20k.py')
    cfg.model.backbone.deploy = True
    model = build(cfg, 'meta')
    model.auxiliary_head = None
    count = sum(p.numel() for p in model.parameters())
    assert round(count / 1e6) == 112, count


@pytest.mark.parametrize(
    'name, millions',
    [
        ('cascade-mask-rcnn_replknet31b_coco', 137),
        ('fcos_replknet31b_coco', 87),
    ],
)
def test_published_parameter_count_of_detectors(name, millions):
    """The paper's, of the deploy form."""
    cfg = read(CONFIGS / f'{name}.py')
    cfg.model.backbone.deploy = True
    count = sum(p.numel() for p in build(cfg, 'meta').parameters())
    assert round(count / 1e6) == millions, count


@pytest.mark.parametrize(
    'name, iters, batch, crop, align_corners',
    [
        ('upernet_replknet31b_ade20k', 160_000, 32, 512, False),
        ('upernet_replknet31b_cityscapes', 80_000, 16, 769, True),
    ],
)
def test_published_recipe(name, iters, batch, crop, align_corners):
    cfg = read(CONFIGS / f'{name}.py')
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


@pytest.mark.parametrize(
    'name, epochs, steps, lr, batch, drop_path, scales',
    [
        (
            'cascade-mask-rcnn_replknet31b_coco', 36, [27, 33], 4e-4, 32, 0.6,
            [(s, 1333) for s in (480, 512, 544, 576, 608, 640, 672, 704, 736,
                                 768, 800)],
        ),
        (
            'fcos_replknet31b_coco', 24, [16, 22], 2e-4, 16, 0.5,
            [(1333, 640), (1333, 800)],
        ),
    ],
)  # fmt: skip
def test_published_detection_recipe(
    name, epochs, steps, lr, batch, drop_path, scales
):
    cfg = read(CONFIGS / f'{name}.py')
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1].milestones == steps
    assert cfg.train_dataloader.batch_size * 8 == batch
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05
    )
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)
    pipeline = cfg.train_dataloader.dataset.pipeline
    resize = next(t for t in pipeline if t.type.startswith('RandomChoice'))
    branches = resize.get('transforms', [[resize]])
    assert {branch[-1].type for branch in branches} == {'RandomChoiceResize'}
    assert all(branch[-1].scales == scales for branch in branches)


@pytest.mark.parametrize('name', ['upernet', 'fcos', 'cascade-mask-rcnn'])
def test_norms_have_no_weight_decay(name):
    cfg = read(CONFIGS / f'{name}_replknet-tiny_shapes.py')
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.param_groups
        for p in group['params']
    }
    for module in model.modules():
        for p in module.parameters(recurse=False):
            norm = isinstance(
                module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
            )
            assert decay[id(p)] == (0 if norm else 0.05)


def test_inheriting_from_another_folder(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{CONFIGS}/upernet_replknet31b_ade20k.py'\n"
        'model = dict(backbone=dict(with_cp=True))\n'
        "train_dataloader = dict(dataset=dict(data_root='/data/ade'))\n"
    )
    cfg = read(path)
    assert cfg.model.backbone.with_cp is True
    assert cfg.model.backbone.arch == '31B'
    assert cfg.train_dataloader.dataset.data_root == '/data/ade'
    assert cfg.custom_imports.imports == ['mmrep']
