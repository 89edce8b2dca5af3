# What the runs of both data sets share.
_base_ = '../../../../../configs/_base_/classification_runtime.py'
custom_imports = dict(
    imports=['mmrep', 'projects.other_signals.point_cloud'],
    allow_failed_imports=False,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = dict(type='mmrep.CloudAccuracy')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='OA',
        rule='greater',
    ),
)
randomness = dict(seed=0)
# units of pi; in test each cloud comes eight times, as published
random_turn = dict(
    type='mmrep.TurnPoints',
    azimuths=(0.04, 1.94),
    tilts=(-0.4, -0.2),
    random=True,
)
eight_turns = dict(
    type='mmrep.TurnPoints',
    azimuths=[0.1 + i * 1.9 / 8 for i in range(8)],
    tilts=[-0.35] * 8,
)
