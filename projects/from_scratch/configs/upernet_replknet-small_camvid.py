# UperNet, a RepLKNet of the size of ResNet-50, from scratch, CamVid at
# 480x360. One recipe for every backbone: long, strongly augmented, rare
# classes weighted, averaged weights.
# 1 GPU x 16 images x 12,000 iterations = 192,000 samples, 523 epochs.
_base_ = [
    '../../../configs/_base_/models/upernet_replknet31b.py',
    '../../../configs/_base_/datasets/camvid.py',
    '../../../configs/_base_/schedules/schedule_160k.py',
    '../../../configs/_base_/segmentation_runtime.py',
]
channels = [80, 160, 320, 640]
# Square roots of the median frequency over each class's, in the training
# labels: sky to bicyclist. MMSegmentation 1.2.2 (not the fork) fails with
# weights if pixels are ignored.
class_weight = [
    0.52, 0.44, 2.14, 0.38, 1.0, 0.68, 1.96, 2.0, 0.87, 2.65, 3.92,
]  # fmt: skip
losses = [
    dict(type='CrossEntropyLoss', class_weight=class_weight, loss_weight=1.0),
    # a surrogate of the mIoU
    dict(
        type='LovaszLoss',
        loss_type='multi_class',
        classes='present',
        reduction='none',
        loss_weight=0.5,
    ),
]
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=channels,
            depths=(2, 2, 8, 2),
            kernel_sizes=(31, 29, 27, 13),
        ),
        drop_path_rate=0.2,
    ),
    decode_head=dict(
        in_channels=channels,
        channels=256,
        num_classes=11,
        loss_decode=losses,
    ),
    auxiliary_head=dict(
        in_channels=channels[2],
        channels=128,
        num_classes=11,
        loss_decode=dict(class_weight=class_weight),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomRotate', prob=0.5, degree=10, seg_pad_val=255),
    dict(type='RandomCrop', crop_size=(352, 352), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(
        type='RandomCutOut',
        prob=0.5,
        n_holes=(1, 4),
        cutout_ratio=[(0.1, 0.1), (0.2, 0.2)],
        seg_fill_in=255,
    ),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=16, num_workers=12, dataset=dict(pipeline=train_pipeline)
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5, norm_type=2)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=500, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=500,
        end=12000,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=12000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=0.0005,
        update_buffers=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
