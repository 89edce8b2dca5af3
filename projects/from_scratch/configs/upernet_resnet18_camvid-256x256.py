# UperNet, ResNet-18 from scratch, CamVid at 480x360; the recipe of
# upernet_replknet-tiny_camvid-256x256.py.
# 1 process x 4 images x 6,000 iterations = 24,000 samples, 65 epochs.
_base_ = './upernet_replknet-tiny_camvid-256x256.py'

channels = [64, 128, 256, 512]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmseg.ResNetV1c',
        depth=18,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
