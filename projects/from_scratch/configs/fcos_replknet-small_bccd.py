# FCOS, a RepLKNet of the size of ResNet-50, from scratch, BCCD at 640x480.
# 1 GPU x 8 images x 200 epochs = 41,000 samples.
_base_ = [
    '../../../configs/_base_/models/fcos_replknet31b.py',
    '_base_/bccd_640x480.py',
    '../../../configs/_base_/schedules/schedule_2x.py',
    '../../../configs/_base_/detection_runtime.py',
]
channels = [80, 160, 320, 640]
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(2, 2, 8, 2),
            kernel_sizes=(31, 29, 27, 13),
        ),
        drop_path_rate=0.2,
        with_cp=False,
    ),
    neck=dict(in_channels=channels),
    bbox_head=dict(num_classes=3),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=250, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        T_max=200,
        end=200,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=200, val_interval=10)
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=10, max_keep_ckpts=1),
)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=0.0005,
        update_buffers=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
