# Cascade Mask R-CNN on UniRepLKNet-T, as the authors' detection/configs/coco;
# neck and heads are those of RepLKNet's. A leaf of another size sets arch and
# channels.
_base_ = './cascade-mask-rcnn_replknet31b.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmrep.UniRepLKNet',
        arch='T',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        with_cp=True,
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
