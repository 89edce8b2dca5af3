# UperNet, UniRepLKNet-L (ImageNet-22K, tuned on 1K), ADE20K at 640x640.
# Paper: mIoU 54.5 single-scale, 55.0 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = './upernet_unireplknet-s-in22k_ade20k-640x640.py'

checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_l_in22k_to_in1k_384_acc87.88.pth'
channels = [192, 384, 768, 1536]
model = dict(
    backbone=dict(
        arch='L',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.85))
