# A very small UniRepLKNet from scratch, words that make_words.py lets
# espeak-ng speak. README.md has the accuracy.
# 1 process x 32 clips x 8 epochs of 4,200 = 1,056 iterations.
_base_ = './_base_/speech_commands.py'
model = dict(
    type='mmrep.AudioClassifier',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(16, 32, 64, 128),
            depths=(1, 1, 3, 1),
            kernel_sizes=((3,), (13,), (13, 3, 3), (7,)),
        ),
        in_channels=1,
        out_indices=(3,),
        layer_scale_init_value=1.0,
    ),
    in_channels=128,
    num_classes=35,
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='data/words/', mixup=0.3),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='data/words/'),
)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='data/words/'),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=60, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=8,
        T_max=8,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=1)
