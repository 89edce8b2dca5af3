# FCOS, ResNet-18 of half the width from scratch, BCCD at 320x240; the recipe
# of configs/fcos_replknet-tiny_bccd.py.
# 1 process x 4 images x 100 epochs = 20,500 samples.
_base_ = '../../../configs/fcos_replknet-tiny_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        depth=18,
        # its stages then have the channels of that RepLKNet
        base_channels=32,
        norm_eval=False,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
)
