# Classifier, a very small RepLKNet from scratch, generated images in which
# shape and texture agree; README.md has its shape bias. 1 process x 32 images
# x 10 epochs of 2,400 = 750 iterations.
_base_ = [
    '../../../configs/_base_/models/classifier_replknet31b.py',
    '_base_/cue_conflict.py',
    '../../../configs/_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            channels=(32, 64, 96),
            depths=(1, 1, 2),
            # about the width of the maps: 16, 8 and 4
            kernel_sizes=(15, 9, 5),
            small_kernel=3,
        ),
        out_indices=(2,),
    ),
    in_channels=96,
    num_classes=6,
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=75, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=10,
        T_max=10,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=25),
    checkpoint=dict(type='CheckpointHook', interval=5, max_keep_ckpts=1),
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=32)
