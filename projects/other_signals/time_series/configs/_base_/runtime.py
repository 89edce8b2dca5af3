# What the runs of every model and data set share.
_base_ = '../../../../../configs/_base_/classification_runtime.py'
custom_imports = dict(
    imports=['mmrep', 'projects.other_signals.time_series'],
    allow_failed_imports=False,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = dict(type='mmrep.ForecastMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
# half of it after each epoch
param_scheduler = dict(type='ExponentialLR', gamma=0.5)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='mse',
        rule='less',
    ),
)
custom_hooks = [
    dict(type='mmrep.ThroughputHook'),
    dict(
        type='EarlyStoppingHook',
        monitor='mse',
        rule='less',
        min_delta=0,
        patience=3,
    ),
]
randomness = dict(seed=0)
