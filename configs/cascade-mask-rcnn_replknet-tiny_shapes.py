# Cascade Mask R-CNN, a very small RepLKNet from scratch, the generated shapes.
# 1 process x 8 images x 12 epochs = 4,800 samples, minutes on two CPU cores.
_base_ = [
    '_base_/models/cascade-mask-rcnn_replknet31b.py',
    '_base_/datasets/shapes_instance.py',
    '_base_/schedules/schedule_3x.py',
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
    neck=dict(in_channels=channels, out_channels=64, num_outs=4),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=[
            dict(
                type='ConvFCBBoxHead',
                num_shared_convs=1,
                num_shared_fcs=1,
                in_channels=64,
                conv_out_channels=64,
                fc_out_channels=128,
                roi_feat_size=7,
                num_classes=6,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_stds=target_stds
                ),
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
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(
            num_convs=2, in_channels=64, conv_out_channels=64, num_classes=6
        ),
    ),
    # enough proposals for six shapes in an image
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=32)),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=32)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR', T_max=12, end=12, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=12, val_interval=4)
default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(interval=4, max_keep_ckpts=1)
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=8)
