# UperNet, UniRepLKNet-B (ImageNet-22K, tuned on 1K), ADE20K at 640x640.
# Paper: mIoU 53.5 single-scale, 53.9 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_unireplknet-s-in22k_ade20k-640x640.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_b_in22k_to_in1k_384_acc87.40.pth'
channels = [128, 256, 512, 1024]
model = dict(
    backbone=dict(
        arch='B',
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
