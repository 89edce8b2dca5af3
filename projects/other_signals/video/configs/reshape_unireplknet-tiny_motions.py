# A very small UniRepLKNet from scratch, 16 frames of 16x16 as one map of
# 64x64, moving shapes; README.md has its accuracy.
# 1 process x 8 videos x 2 views x 20 epochs of 600 = 1,500 iterations.
_base_ = './_base_/motions.py'
model = dict(
    type='mmrep.VideoClassifier',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(16, 32, 64, 128),
            depths=(1, 1, 2, 1),
            kernel_sizes=((13,), (13,), (7, 3), (3,)),
        ),
        out_indices=(3,),
        layer_scale_init_value=1.0,
    ),
    in_channels=128,
    num_classes=6,
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=200, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=20,
        T_max=20,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=2)
