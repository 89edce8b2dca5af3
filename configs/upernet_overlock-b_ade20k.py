# UperNet, OverLoCK-B (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 51.7 single-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_overlock-t_ade20k.py'

checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_b_in1k_224.pth'
channels = [80, 160, 528, 720]
model = dict(
    backbone=dict(
        arch='B',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
