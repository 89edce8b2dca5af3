# Cascade Mask R-CNN, UniRepLKNet-S (ImageNet-1K), COCO, 3x.
# Paper: box AP 53.0, mask AP 45.9 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-t_coco.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_s_in1k_224_acc83.91.pth'
model = dict(
    backbone=dict(
        arch='S', drop_path_rate=0.5, init_cfg=dict(checkpoint=checkpoint)
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
