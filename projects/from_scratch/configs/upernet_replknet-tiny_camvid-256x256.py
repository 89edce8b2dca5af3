# UperNet, a small RepLKNet from scratch, CamVid at 480x360, at a size for one
# CPU core: narrower, smaller crops, less augmentation, bf16 with --amp bf16.
# 1 process x 4 images x 6,000 iterations = 24,000 samples, 65 epochs.
_base_ = './upernet_replknet-small_camvid.py'

crop_size = (256, 256)
channels = [48, 96, 192, 384]
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.5, 1.5),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch=dict(channels=channels, depths=(2, 2, 6, 2)), drop_path_rate=0.1
    ),
    decode_head=dict(
        in_channels=channels,
        channels=64,
        # without the Lovász loss, which sorts all pixels for each class
        loss_decode=dict(
            _delete_=True,
            type='CrossEntropyLoss',
            class_weight=_base_.class_weight,
        ),
    ),
    auxiliary_head=dict(in_channels=channels[2], channels=32),
)
train_dataloader = dict(
    batch_size=4,
    # no process beside the one that trains
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=200, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=200,
        end=6000,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=6000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=0.002,
        update_buffers=True,
    )
]
auto_scale_lr = dict(base_batch_size=4)
