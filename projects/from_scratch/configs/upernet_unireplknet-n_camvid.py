# UperNet, UniRepLKNet-N from scratch, CamVid at 480x360; the recipe of
# upernet_replknet-small_camvid.py.
# 1 GPU x 16 images x 12,000 iterations = 192,000 samples, 523 epochs.
_base_ = './upernet_replknet-small_camvid.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.UniRepLKNet',
        arch='N',
        drop_path_rate=0.2,
        # blocks that start at 1e-6 would take most of this schedule
        layer_scale_init_value=1.0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    )
)
