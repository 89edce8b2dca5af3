# Cascade Mask R-CNN, UniRepLKNet-L (ImageNet-22K, tuned on 1K), COCO, 3x.
# Paper: box AP 55.8, mask AP 48.4 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-s-in22k_coco.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_l_in22k_to_in1k_384_acc87.88.pth'
model = dict(
    backbone=dict(
        arch='L', drop_path_rate=0.7, init_cfg=dict(checkpoint=checkpoint)
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.7))
