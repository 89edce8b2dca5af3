# The same at a size for one CPU thread: half the width, images of 240x180.
# 1 process x 4 images x 1,200 iterations = 4,800 samples, 13 epochs.
_base_ = './fcn_mobilenetv2_camvid.py'

crop_size = (128, 128)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type='RandomResize',
        scale=(240, 180),
        ratio_range=(0.75, 1.5),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    *_base_.train_pipeline[4:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale=(240, 180), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
resizes = [
    dict(type='Resize', scale=(int(240 * r), int(180 * r)), keep_ratio=True)
    for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
]
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[resizes, *_base_.tta_pipeline[1]['transforms'][1:]],
    ),
]
del resizes
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(widen_factor=0.5),
    decode_head=dict(in_channels=[16, 16, 48, 160], channels=64),
)
train_dataloader = dict(
    batch_size=4,
    # no process beside the one that trains
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=test_pipeline),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=30, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=30,
        end=1200,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=1200, val_interval=1200)
default_hooks = dict(checkpoint=dict(interval=1200))
auto_scale_lr = dict(base_batch_size=4)
