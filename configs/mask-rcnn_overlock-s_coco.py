# Mask R-CNN, OverLoCK-S (ImageNet-1K), COCO, 3x.
# Paper: box AP 51.0, mask AP 45.0 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './mask-rcnn_overlock-t_coco.py'

checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_s_in1k_224.pth'
model = dict(
    backbone=dict(
        arch='S',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[64, 128, 448, 640]),
)
