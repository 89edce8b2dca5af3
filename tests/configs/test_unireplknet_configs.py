"""UniRepLKNet's published rows: sizes, FLOPs, recipes, test pipelines."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from sweep import sweep

from mmrep.analysis import count
from mmrep.deploy import build_model

CONFIGS = Path(__file__).parents[2] / 'configs'
ADE20K, COCO = 'upernet_unireplknet-{}', 'cascade-mask-rcnn_unireplknet-{}'
LONG, WIDE, BOX = (512, 2048), (640, 2560), (800, 1280)
# config, width, parameters in M and FLOPs in G as published, height and width
# that they are for, drop path rate, learning-rate decay, layers
ROWS = [
    (ADE20K, 't_ade20k', 80, 61, 946, LONG, 0.2, 1.0, 9),
    (ADE20K, 's_ade20k', 96, 86, 1036, LONG, 0.3, 0.9, 12),
    (ADE20K, 's-in22k_ade20k', 96, 86, 1036, LONG, 0.3, 0.9, 12),
    (ADE20K, 's-in22k_ade20k-640x640', 96, 86, 1618, WIDE, 0.3, 0.9, 12),
    (ADE20K, 'b-in22k_ade20k-640x640', 128, 130, 1850, WIDE, 0.3, 0.9, 12),
    (ADE20K, 'l-in22k_ade20k-640x640', 192, 254, 2507, WIDE, 0.4, 0.85, 12),
    (ADE20K, 'xl-in22k_ade20k-640x640', 256, 425, 3420, WIDE, 0.4, 0.85, 12),
    (COCO, 't_coco', 80, 89, 749, BOX, 0.3, 0.8, 12),
    (COCO, 's_coco', 96, 113, 835, BOX, 0.5, 0.8, 12),
    (COCO, 's-in22k_coco', 96, 113, 835, BOX, 0.5, 0.8, 12),
    (COCO, 'b-in22k_coco', 128, 155, 978, BOX, 0.6, 0.8, 12),
    (COCO, 'l-in22k_coco', 192, 276, 1385, BOX, 0.7, 0.7, 12),
    (COCO, 'xl-in22k_coco', 256, 443, 1952, BOX, 0.7, 0.7, 12),
]  # fmt: skip
NAMES = [method.format(name) for method, name, *_ in ROWS]


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_every_published_row_is_there():
    found = {p.stem for p in CONFIGS.glob('*unireplknet-*.py')}
    # the tiny ones are from scratch on small data
    assert {name for name in found if 'tiny' not in name} == set(NAMES)


@pytest.mark.parametrize('row', sweep(ROWS), ids=NAMES)
def test_published_size_and_flops(row):
    """Within 2 %, in the deploy form, without what inference does not run."""
    method, name, width, params, flops, shape, *_ = row
    cfg = load(method.format(name))
    cfg.model.backbone.pop('init_cfg')
    cfg.model.backbone.deploy = True
    model = build_model(cfg, meta=True)
    assert model.backbone.arch['channels'][0] == width
    found = count(model, shape)
    assert found.params / 1e6 == pytest.approx(params, rel=0.02)
    assert found.flops / 1e9 == pytest.approx(flops, rel=0.02)


@pytest.mark.parametrize('row', ROWS, ids=NAMES)
def test_published_recipe(row):
    method, name, *_, drop_path, decay, layers = row
    cfg = load(method.format(name))
    backbone = cfg.model.backbone
    assert backbone.drop_path_rate == drop_path
    assert backbone.get('with_cp', False) is (name != 't_ade20k')
    assert backbone.norm_cfg.type == 'SyncBN'
    file = backbone.init_cfg.checkpoint.rpartition('/')[2]
    size = name.partition('-')[0].partition('_')[0]
    assert file.startswith(f'unireplknet_{size}_')
    source = 'in22k_to_in1k_384' if 'in22k' in name else 'in1k_224'
    assert source in file
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size * 8 == 16
    wrapper = cfg.optim_wrapper
    assert wrapper.constructor == 'mmrep.LayerDecayOptimWrapperConstructor'
    assert wrapper.paramwise_cfg == dict(decay_rate=decay, num_layers=layers)
    assert wrapper.optimizer == dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05
    )
    if method == ADE20K:
        assert cfg.train_cfg.max_iters == 160_000
        crop = 640 if name.endswith('640x640') else 512
        assert cfg.crop_size == (crop, crop)
        assert cfg.model.data_preprocessor.size == (crop, crop)
        train = cfg.train_dataloader.dataset.pipeline
        resize, cut = (
            next(t for t in train if t.type == kind)
            for kind in ('RandomResize', 'RandomCrop')
        )
        assert resize.scale == (4 * crop, crop)
        assert cut.crop_size == (crop, crop)
        # the authors test whole images at any size
        assert cfg.model.test_cfg == dict(mode='whole')
    else:
        assert cfg.train_cfg.max_epochs == 36
        hooks = [h.type for h in cfg.get('custom_hooks', [])]
        assert hooks == (['EMAHook'] if 'in22k' in name else [])


@pytest.mark.parametrize('name', sweep(NAMES))
def test_optimizer_builds(name):
    cfg = load(name)
    cfg.model.backbone.pop('init_cfg')
    model = build_model(cfg, meta=True)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    trained = sum(p.requires_grad for p in model.parameters())
    groups = wrapper.optimizer.param_groups
    assert sum(len(g['params']) for g in groups) == trained
    layers = cfg.optim_wrapper.paramwise_cfg.num_layers
    rate = cfg.optim_wrapper.paramwise_cfg.decay_rate
    least = min(g['lr'] for g in groups)
    assert least == pytest.approx(1e-4 * rate ** (layers + 1))


@pytest.mark.parametrize('short', [512, 640])
def test_test_images_have_multiples_of_32(short):
    """500x333 becomes 800x512 or 992x640; the labels keep their size."""
    name = ADE20K.format('t_ade20k')
    if short == 640:
        name = ADE20K.format('s-in22k_ade20k-640x640')
    cfg = load(name)
    image = np.zeros((333, 500, 3), np.uint8)
    wide = {512: (512, 800), 640: (640, 992)}[short]

    def run(pipeline):
        steps = [t for t in pipeline if 'Load' not in t.type]
        with DefaultScope.overwrite_default_scope('mmseg'):
            return Compose(steps)(
                dict(img=image.copy(), ori_shape=(333, 500), seg_fields=[])
            )

    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        pipeline = loader.dataset.pipeline
        kinds = [t.type for t in pipeline]
        assert kinds.index('ResizeToMultiple') < kinds.index('LoadAnnotations')
        result = run(pipeline)
        assert result['inputs'].shape == (3, *wide)
        assert result['data_samples'].img_shape == wide
    views = cfg.tta_pipeline[-1].copy()
    views['transforms'] = [
        v for v in views['transforms'] if v[0].type != 'LoadAnnotations'
    ]
    result = run([views])
    shapes = [tuple(x.shape[1:]) for x in result['inputs']]
    assert len(shapes) == 12
    assert all(h % 32 == 0 and w % 32 == 0 for h, w in shapes), shapes
    assert wide in shapes
