# UniRepLKNet-S on four views, ModelNet40; the authors' OA / mAcc: 93.2 / 90.3.
# Not trained here.
# 1 process x 16 clouds x 300 epochs.
_base_ = './_base_/modelnet40.py'
model = dict(
    type='mmrep.PointCloudClassifier',
    projection=dict(size=224, num_views=4, neighbours=32),
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch='S',
        out_indices=(3,),
        drop_path_rate=0.4,
    ),
    in_channels=768,
    num_classes=40,
)
