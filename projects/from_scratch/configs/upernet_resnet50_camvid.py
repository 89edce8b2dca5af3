# UperNet, ResNet-50 from scratch, CamVid at 480x360; the recipe of
# upernet_replknet-small_camvid.py.
# 1 GPU x 16 images x 12,000 iterations = 192,000 samples, 523 epochs.
_base_ = './upernet_replknet-small_camvid.py'

channels = [256, 512, 1024, 2048]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmseg.ResNetV1c',
        depth=50,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
