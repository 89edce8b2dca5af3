# The data set that projects/cue_conflict/make_cue_conflict.py generates: 6
# classes of 400 training and 50 validation images, 64x64, in which shape and
# texture agree.
load = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmrep.FolderDataset',
        data_root='data/cue_conflict',
        data_prefix=dict(img_path='train'),
        num_classes=6,
        pipeline=[
            *load,
            dict(type='RandomFlip', prob=0.5),
            dict(type='mmrep.PackClassification'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrep.FolderDataset',
        data_root='data/cue_conflict',
        data_prefix=dict(img_path='val'),
        num_classes=6,
        pipeline=[*load, dict(type='mmrep.PackClassification')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmrep.TopKAccuracy', topk=(1,))
test_evaluator = val_evaluator
