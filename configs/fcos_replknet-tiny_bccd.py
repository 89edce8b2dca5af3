# FCOS, a small RepLKNet from scratch, BCCD at 320x240.
# 1 process x 4 images x 100 epochs = 20,500 samples.
_base_ = [
    '_base_/models/fcos_replknet31b.py',
    '_base_/datasets/bccd.py',
    '_base_/schedules/schedule_2x.py',
    '_base_/detection_runtime.py',
]
channels = [32, 64, 128, 256]
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(1, 1, 2, 1),
            # the maps are 80x60, 40x30, 20x15 and 10x8
            kernel_sizes=(31, 29, 15, 7),
        ),
        drop_path_rate=0.0,
        with_cp=False,
    ),
    neck=dict(in_channels=channels, out_channels=64, num_outs=4),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32, 64],
        # cells are 10 to 143 pixels wide at this scale
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 1e8)),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        T_max=100,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=100, val_interval=5)
default_hooks = dict(logger=dict(interval=17), checkpoint=dict(interval=5))
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
