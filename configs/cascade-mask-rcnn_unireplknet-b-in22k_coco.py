# Cascade Mask R-CNN, UniRepLKNet-B (ImageNet-22K, tuned on 1K), COCO, 3x.
# Paper: box AP 54.8, mask AP 47.4 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-s-in22k_coco.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_b_in22k_to_in1k_384_acc87.40.pth'
model = dict(
    backbone=dict(
        arch='B', drop_path_rate=0.6, init_cfg=dict(checkpoint=checkpoint)
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
