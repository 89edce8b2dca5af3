# UperNet, UniRepLKNet-S (ImageNet-22K, tuned on 1K), ADE20K at 512x512.
# Paper: mIoU 51.9 single-scale, 52.7 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_unireplknet-s_ade20k.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_s_in22k_to_in1k_384_acc86.44.pth'
model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
