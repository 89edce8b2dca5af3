# FCOS, a very small RepLKNet from scratch, the boxes of the generated shapes.
# 1 process x 8 images x 24 epochs = 9,600 samples, minutes on two CPU cores.
_base_ = [
    '_base_/models/fcos_replknet31b.py',
    '_base_/datasets/shapes_detection.py',
    '_base_/schedules/schedule_2x.py',
    '_base_/detection_runtime.py',
]
channels = [32, 64, 96, 128]
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(1, 1, 2, 1),
            # about the width of the maps: 32, 16, 8 and 4
            kernel_sizes=(31, 15, 9, 5),
        ),
        drop_path_rate=0.0,
        with_cp=False,
    ),
    neck=dict(in_channels=channels, out_channels=64, num_outs=3),
    bbox_head=dict(
        num_classes=6,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32],
        # shapes are 15 to 61 pixels wide
        regress_ranges=((-1, 24), (24, 48), (48, 1e8)),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR', T_max=24, end=24, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=24, val_interval=6)
default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(interval=6, max_keep_ckpts=1)
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=8)
