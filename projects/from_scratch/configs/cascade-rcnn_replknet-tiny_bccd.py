# Cascade R-CNN, a small RepLKNet from scratch, BCCD at 320x240.
# 1 process x 4 images x 30 epochs = 6,150 samples.
_base_ = [
    '../../../configs/_base_/models/cascade-mask-rcnn_replknet31b.py',
    '../../../configs/_base_/datasets/bccd.py',
    '../../../configs/_base_/schedules/schedule_3x.py',
    '../../../configs/_base_/detection_runtime.py',
]
channels = [32, 64, 128, 256]
model = dict(
    data_preprocessor=dict(pad_mask=False),
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
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # cells are 10 to 143 pixels wide at this scale
        anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        bbox_head=[
            dict(
                type='ConvFCBBoxHead',
                num_shared_convs=1,
                num_shared_fcs=1,
                in_channels=64,
                conv_out_channels=64,
                fc_out_channels=256,
                roi_feat_size=7,
                num_classes=3,
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
        mask_roi_extractor=None,
        mask_head=None,
    ),
    # an image holds up to 30 cells
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=200),
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(
                    type='RandomSampler',
                    num=64,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6, 0.7)
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=200)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR', T_max=30, end=30, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=30, val_interval=5)
default_hooks = dict(logger=dict(interval=17), checkpoint=dict(interval=5))
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
