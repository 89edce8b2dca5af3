# UperNet, a small RepLKNet from scratch, CamVid at 480x360.
# 1 GPU x 8 images x 20,000 iterations = 160,000 samples, 436 epochs.
_base_ = [
    '_base_/models/upernet_replknet31b.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/schedule_160k.py',
    '_base_/segmentation_runtime.py',
]
# The kernels of 31B; at 352x352 the maps are 88, 44, 22 and 11 wide.
channels = [48, 96, 192, 384]
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(2, 2, 6, 2),
            kernel_sizes=(31, 29, 27, 13),
        ),
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=channels, channels=128, num_classes=11),
    auxiliary_head=dict(in_channels=channels[2], channels=64, num_classes=11),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=200, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=200,
        end=20000,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=20000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
auto_scale_lr = dict(enable=False, base_batch_size=8)
