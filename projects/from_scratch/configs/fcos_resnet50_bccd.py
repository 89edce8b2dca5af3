# FCOS, ResNet-50 from scratch, BCCD at 640x480; the recipe of
# fcos_replknet-small_bccd.py.
# 1 GPU x 8 images x 200 epochs = 41,000 samples.
_base_ = './fcos_replknet-small_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        depth=50,
        norm_eval=False,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
