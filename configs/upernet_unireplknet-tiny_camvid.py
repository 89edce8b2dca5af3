# UperNet, a small UniRepLKNet from scratch, CamVid at 480x360.
# 1 GPU x 8 images x 20,000 iterations = 160,000 samples, 436 epochs.
_base_ = './upernet_replknet-tiny_camvid.py'

# UniRepLKNet-F
channels = [48, 96, 192, 384]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.UniRepLKNet',
        arch='F',
        drop_path_rate=0.1,
        # blocks that start at 1e-6 would take most of this schedule
        layer_scale_init_value=1.0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    )
)
