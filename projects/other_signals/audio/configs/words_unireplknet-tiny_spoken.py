# A very small UniRepLKNet from scratch, words that make_words.py lets
# espeak-ng speak: top-1 of 83.3 in test.
# 1 process x 32 clips x 20 epochs of 4,200 = 2,640 iterations.
_base_ = './_base_/speech_commands.py'
model = dict(
    type='mmrep.AudioClassifier',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(16, 32, 64, 128),
            depths=(1, 1, 2, 1),
            kernel_sizes=((3,), (13,), (13, 3), (3,)),
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
    dataset=dict(
        data_root='data/words/',
        mixup=0.2,
        pipeline=[
            *_base_.fbank,
            dict(type='mmrep.MaskFbank', max_bins=24, max_frames=24),
            *_base_.train_pipeline[3:],
        ],
    ),
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
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=60, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=20,
        T_max=20,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=1)
