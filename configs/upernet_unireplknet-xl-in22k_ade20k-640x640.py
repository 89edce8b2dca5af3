# UperNet, UniRepLKNet-XL (ImageNet-22K, tuned on 1K), ADE20K at 640x640.
# Paper: mIoU 55.2 single-scale, 55.6 multi-scale (the authors').
# The authors give the weights without a config; drop path and decay are L's.
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples.
_base_ = './upernet_unireplknet-s-in22k_ade20k-640x640.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_xl_in22k_to_in1k_384_acc87.96.pth'
channels = [256, 512, 1024, 2048]
model = dict(
    backbone=dict(
        arch='XL',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.85))
