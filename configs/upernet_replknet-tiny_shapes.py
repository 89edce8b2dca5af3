# UperNet, a very small RepLKNet from scratch, the generated shapes: what
# `make quickstart` runs. 1 process x 8 images x 600 iterations, minutes on two
# CPU cores.
_base_ = [
    '_base_/models/upernet_replknet31b.py',
    '_base_/datasets/shapes.py',
    '_base_/schedules/schedule_160k.py',
    '_base_/segmentation_runtime.py',
]
channels = [32, 64, 96, 128]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(1, 1, 2, 1),
            # about the width of the maps: 32, 16, 8 and 4
            kernel_sizes=(31, 15, 9, 5),
        ),
        drop_path_rate=0.0,
    ),
    decode_head=dict(in_channels=channels, channels=64, num_classes=7),
    auxiliary_head=dict(in_channels=channels[2], channels=32, num_classes=7),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=50, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=50,
        end=600,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=600, val_interval=200)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=1)
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=8)
