# Cascade R-CNN, a RepLKNet of the size of ResNet-50, from scratch, BCCD at
# 640x480. 1 GPU x 8 images x 200 epochs = 41,000 samples.
_base_ = [
    '../../../configs/_base_/models/cascade-mask-rcnn_replknet31b.py',
    '_base_/bccd_640x480.py',
    '../../../configs/_base_/schedules/schedule_3x.py',
    '../../../configs/_base_/detection_runtime.py',
]
channels = [80, 160, 320, 640]
model = dict(
    data_preprocessor=dict(pad_mask=False),
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
    roi_head=dict(
        bbox_head=[
            dict(
                type='ConvFCBBoxHead',
                num_shared_convs=4,
                num_shared_fcs=1,
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=3,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_stds=target_stds
                ),
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                norm_cfg=dict(type='SyncBN', requires_grad=True),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
                loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
            )
            for target_stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
        mask_roi_extractor=None,
        mask_head=None,
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=300)),
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
