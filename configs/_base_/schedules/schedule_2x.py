# 24 epochs of AdamW, as FCOS was trained with RepLKNet: a third of the rate
# for 500 iterations, a tenth from epochs 16 and 22, clipped gradients.
_base_ = './schedule_3x.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-4), clip_grad=dict(max_norm=35, norm_type=2)
)
param_scheduler = [
    dict(type='ConstantLR', factor=1 / 3, begin=0, end=500, by_epoch=False),
    dict(
        type='MultiStepLR',
        begin=0,
        end=24,
        by_epoch=True,
        milestones=[16, 22],
        gamma=0.1,
    ),
]
train_cfg = dict(max_epochs=24)
