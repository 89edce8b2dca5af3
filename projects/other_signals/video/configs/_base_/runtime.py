# What the runs of VideoClassifier share.
_base_ = '../../../../../configs/_base_/classification_runtime.py'
custom_imports = dict(
    imports=['mmrep', 'projects.other_signals.video'],
    allow_failed_imports=False,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='accuracy/top1',
        rule='greater',
    ),
)
randomness = dict(seed=0)
