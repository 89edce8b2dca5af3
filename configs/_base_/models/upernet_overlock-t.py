# UperNet on OverLoCK-T, as the authors' segmentation/configs/overlock; the
# heads are those of RepLKNet's. A leaf of another size sets arch and channels.
_base_ = './upernet_replknet31b.py'

channels = [64, 128, 384, 640]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.OverLoCK',
        arch='T',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
