# Mask R-CNN, OverLoCK-S (ImageNet-1K), COCO, 1x.
# Paper: box AP 49.4, mask AP 44.0 (the authors').
# 8 GPUs x 2 images x 12 epochs = 1.42 M samples, like the authors.
_base_ = './mask-rcnn_overlock-t_coco-1x.py'

checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_s_in1k_224.pth'
model = dict(
    backbone=dict(
        arch='S',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[64, 128, 448, 640]),
)
