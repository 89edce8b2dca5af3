# UniRepLKNet-S on filter banks of Speech Commands V2, 35 words; the authors'
# accuracy: 98.5. Not trained here.
# 1 process x 128 clips x 100 epochs of 84,843 = 66,300 iterations.
_base_ = './_base_/speech_commands.py'
model = dict(
    type='mmrep.AudioClassifier',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch='S',
        in_channels=1,
        out_indices=(3,),
        drop_path_rate=0.4,
    ),
    in_channels=768,
    num_classes=35,
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='Adam', lr=2.5e-4, betas=(0.95, 0.999), weight_decay=5e-7
    ),
)
# from epoch 5 on x 0.85 an epoch
param_scheduler = dict(
    type='MultiStepLR', milestones=list(range(5, 100)), gamma=0.85
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=1)
