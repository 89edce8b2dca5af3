# UperNet, a very small UniRepLKNet from scratch, generated sound events: a
# class for each bin and frame of a spectrogram. See README.md.
# 1 process x 8 clips x 400 iterations.
_base_ = [
    '../../../../configs/_base_/models/upernet_unireplknet-t.py',
    '_base_/audio.py',
    '../../../../configs/_base_/schedules/schedule_160k.py',
    '../../../../configs/_base_/segmentation_runtime.py',
]
channels = [24, 48, 72, 96]
# tones, sweeps and sirens are 5 % of the bins together, quiet is 72 %
class_weight = [0.3, 3.0, 3.0, 3.0, 2.0, 1.0]
model = dict(
    data_preprocessor=dict(
        # one channel: of the training set
        mean=[46.4],
        std=[42.5],
        bgr_to_rgb=False,
        size=(128, 256),
    ),
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(1, 1, 2, 1),
            kernel_sizes=((3,), (13,), (13, 3), (7,)),
        ),
        in_channels=1,
        drop_path_rate=0.0,
        layer_scale_init_value=1.0,
    ),
    decode_head=dict(
        in_channels=channels,
        channels=48,
        num_classes=6,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=channels[2],
        channels=24,
        num_classes=6,
        loss_decode=dict(class_weight=class_weight),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=40, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=40,
        end=400,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=400, val_interval=200)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=1)
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=8)
