# UperNet, a small OverLoCK from scratch, CamVid at 480x360.
# 1 GPU x 8 images x 20,000 iterations = 160,000 samples, 436 epochs.
_base_ = './upernet_replknet-tiny_camvid.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.OverLoCK',
        arch=dict(
            channels=(32, 64, 96, 128),
            depths=(1, 1, 2, 1),
            kernel_sizes=(17, 15, 13, 7),
            focus_depths=(3, 1),
            focus_heads=(3, 4),
        ),
        drop_path_rate=0.1,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=[32, 64, 128, 160]),
    auxiliary_head=dict(in_channels=128),
)
