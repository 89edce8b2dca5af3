# The solids that make_solids.py generates: 8 classes, of each 80 clouds to
# train, 10 to validate, 20 to test; 256 points.
_base_ = './runtime.py'
train_pipeline = [
    dict(type='mmrep.NormalizePoints'),
    dict(type='mmrep.SamplePoints', count=256, among=320),
    _base_.random_turn,
    dict(type='mmrep.ScaleTurned'),
    dict(type='mmrep.PackPoints'),
]
test_pipeline = [
    dict(type='mmrep.NormalizePoints'),
    dict(type='mmrep.SamplePoints', count=256),
    _base_.eight_turns,
    dict(type='mmrep.PackPoints'),
]
solids = dict(type='mmrep.PointCloudDataset', data_root='data/solids/')
loader = dict(
    batch_size=16,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    drop_last=True,
    dataset=dict(split='train', pipeline=train_pipeline, **solids),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', repeats=8, pipeline=test_pipeline, **solids),
    **loader,
)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', repeats=8, pipeline=test_pipeline, **solids),
    **loader,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=15, val_interval=3)
param_scheduler = dict(
    type='CosineAnnealingLR',
    T_max=15,
    eta_min=1e-6,
    convert_to_iter_based=True,
)
