# UperNet, OverLoCK-S (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 51.3 single-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_overlock-t_ade20k.py'

checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_s_in1k_224.pth'
channels = [64, 128, 448, 640]
model = dict(
    backbone=dict(
        arch='S',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
