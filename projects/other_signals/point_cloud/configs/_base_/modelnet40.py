# ModelNet40, as prepare_modelnet.py writes it: 9,843 clouds to train, 2,468 to
# test, 40 classes, 4096 points.
_base_ = './runtime.py'
train_pipeline = [
    dict(type='mmrep.NormalizePoints'),
    dict(type='mmrep.SamplePoints', count=4096, among=4800),
    _base_.random_turn,
    dict(type='mmrep.ScaleTurned'),
    dict(type='mmrep.PackPoints'),
]
test_pipeline = [
    dict(type='mmrep.NormalizePoints'),
    dict(type='mmrep.SamplePoints', count=4096),
    _base_.eight_turns,
    dict(type='mmrep.PackPoints'),
]
loader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    drop_last=True,
    dataset=dict(
        type='mmrep.PointCloudDataset',
        data_root='data/modelnet40/',
        split='train',
        pipeline=train_pipeline,
    ),
    **loader,
)
# ModelNet40 has no validation set: as published, the test set chooses
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrep.PointCloudDataset',
        data_root='data/modelnet40/',
        split='test',
        repeats=8,
        pipeline=test_pipeline,
    ),
    **loader,
)
test_dataloader = val_dataloader
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=5)
param_scheduler = dict(type='CosineAnnealingLR', T_max=300, eta_min=1e-6)
