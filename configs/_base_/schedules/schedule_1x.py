# 12 epochs of AdamW, as Mask R-CNN was trained with OverLoCK: a tenth of the
# rate from epochs 8 and 11.
_base_ = './schedule_3x.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=500, by_epoch=False),
    dict(
        type='MultiStepLR',
        begin=0,
        end=12,
        by_epoch=True,
        milestones=[8, 11],
        gamma=0.1,
    ),
]
train_cfg = dict(max_epochs=12)
