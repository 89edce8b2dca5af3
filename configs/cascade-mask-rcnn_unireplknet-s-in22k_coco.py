# Cascade Mask R-CNN, UniRepLKNet-S (ImageNet-22K, tuned on 1K), COCO, 3x.
# Paper: box AP 54.3, mask AP 47.1 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = './cascade-mask-rcnn_unireplknet-s_coco.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_s_in22k_to_in1k_384_acc86.44.pth'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=checkpoint)),
)
custom_hooks = [
    # the authors' average of the weights, which is what they tested
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0001,
        update_buffers=True,
        priority=49,
    )
]
