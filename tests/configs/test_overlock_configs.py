"""OverLoCK's published rows: sizes and recipes."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from sweep import sweep

from mmrep.deploy import build_model

CONFIGS = Path(__file__).parents[2] / 'configs'
ADE20K, COCO, ONCE = (
    'upernet_overlock-{}_ade20k',
    'mask-rcnn_overlock-{}_coco',
    'mask-rcnn_overlock-{}_coco-1x',
)
# config, size, channels of the outputs, drop path rate, learning rate
ROWS = [
    (ADE20K, 't', (64, 128, 384, 640), 0.2, 6e-5),
    (ADE20K, 's', (64, 128, 448, 640), 0.3, 6e-5),
    (ADE20K, 'b', (80, 160, 528, 720), 0.5, 6e-5),
    (COCO, 't', (64, 128, 384, 640), 0.2, 1e-4),
    (COCO, 's', (64, 128, 448, 640), 0.4, 1e-4),
    (COCO, 'b', (80, 160, 528, 720), 0.6, 1e-4),
    (ONCE, 't', (64, 128, 384, 640), 0.2, 2e-4),
    (ONCE, 's', (64, 128, 448, 640), 0.4, 2e-4),
    (ONCE, 'b', (80, 160, 528, 720), 0.6, 2e-4),
]
NAMES = [method.format(name) for method, name, *_ in ROWS]


def test_every_published_row_is_there():
    found = {p.stem for p in CONFIGS.glob('*overlock-*.py')}
    assert {name for name in found if 'tiny' not in name} == set(NAMES)


@pytest.mark.parametrize('row', sweep(ROWS), ids=NAMES)
def test_published_recipe(row):
    method, size, channels, drop_path, rate = row
    cfg = Config.fromfile(CONFIGS / f'{method.format(size)}.py')
    backbone = cfg.model.backbone
    assert backbone.drop_path_rate == drop_path
    assert backbone.norm_cfg.type == 'SyncBN'
    file = backbone.pop('init_cfg').checkpoint.rpartition('/')[2]
    assert file == f'overlock_{size}_in1k_224.pth'
    assert backbone.get('overview_output', False) is (method != ADE20K)
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size * 8 == 16
    decay = 0.01 if method == ADE20K else 0.05
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=rate, betas=(0.9, 0.999), weight_decay=decay
    )
    model = build_model(cfg, meta=True)
    assert model.backbone.out_channels == channels
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {id(g['params'][0]): g for g in wrapper.optimizer.param_groups}
    for name, p in model.named_parameters():
        expected = 0 if 'norm' in name else decay
        assert groups[id(p)]['weight_decay'] == expected, name
    if method == ADE20K:
        assert list(cfg.model.decode_head.in_channels) == list(channels)
        assert cfg.model.auxiliary_head.in_channels == channels[2]
        assert cfg.train_cfg.max_iters == 160_000
        assert cfg.model.test_cfg == dict(mode='whole')
        steps = cfg.test_dataloader.dataset.pipeline
        views = [view[0] for view in cfg.tta_pipeline[1].transforms]
        for found in (steps, views):
            (multiple,) = (t for t in found if t.type == 'ResizeToMultiple')
            assert multiple.size_divisor == 32
            assert multiple.interpolation == 'bicubic'
        assert cfg.val_dataloader.dataset.pipeline == steps
    else:
        assert list(cfg.model.neck.in_channels) == list(channels)
        epochs, milestones = (
            (36, [27, 33]) if method == COCO else (12, [8, 11])
        )
        assert cfg.train_cfg.max_epochs == epochs
        assert cfg.param_scheduler[1].milestones == milestones
        kinds = [t.type for t in cfg.train_dataloader.dataset.pipeline]
        assert ('Resize' in kinds) is (method == ONCE)
        assert ('RandomChoice' in kinds) is (method == COCO)
