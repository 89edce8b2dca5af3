# Mask R-CNN, OverLoCK-B (ImageNet-1K), COCO, 3x.
# Paper: box AP 51.4, mask AP 45.3 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './mask-rcnn_overlock-t_coco.py'

checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_b_in1k_224.pth'
model = dict(
    backbone=dict(
        arch='B',
        drop_path_rate=0.6,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[80, 160, 528, 720]),
)
