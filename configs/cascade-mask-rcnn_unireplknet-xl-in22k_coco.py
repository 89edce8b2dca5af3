# Cascade Mask R-CNN, UniRepLKNet-XL (ImageNet-22K, tuned on 1K), COCO, 3x.
# Paper: box AP 56.4, mask AP 49.0 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-l-in22k_coco.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_xl_in22k_to_in1k_384_acc87.96.pth'
model = dict(
    backbone=dict(arch='XL', init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
