# The same at a size for one CPU thread: narrower and shallower, images of
# 240x180. 1 process x 4 images x 1,200 iterations = 4,800 samples, 13 epochs.
_base_ = './fcn_mobilenetv2_camvid-128x128.py'

channels = [24, 48, 96, 192]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.RepLKNet',
        arch=dict(
            channels=channels,
            depths=(1, 1, 2, 1),
            kernel_sizes=(31, 29, 27, 13),
            small_kernel=5,
        ),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=channels),
)
