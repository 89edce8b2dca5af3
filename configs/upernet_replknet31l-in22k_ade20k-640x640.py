# UperNet, RepLKNet-31L (ImageNet-22K), ADE20K with crops of 640x640.
# Paper: mIoU 52.4 single-scale, 52.7 multi-scale (the authors').
# 8 GPUs x 4 images x 160,000 iterations = 5.12 M samples, as the authors'
# 64 x 1 x 80,000.
#
# 31B's config with the widths and the weights of 31L.
_base_ = './upernet_replknet31b-in22k_ade20k-640x640.py'
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-31L_ImageNet-22K.pth'
channels = [192, 384, 768, 1536]
model = dict(
    backbone=dict(arch='31L', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
