# UperNet, RepLKNet-XL (MegData73M), ADE20K with crops of 640x640.
# Paper: mIoU 55.2 single-scale, 56.0 multi-scale (the authors').
# 16 GPUs x 2 images x 160,000 iterations = 5.12 M samples, the authors'
# setting.
#
# It differs from 31B's config in the arch, norms on the maps that the heads
# get, more drop path, and the mean and standard deviation of its pretraining.
# The authors' config names the test pipeline for training, which this
# corrects.
_base_ = './upernet_replknet31b-in22k_ade20k-640x640.py'
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-XL_MegData73M.pth'
channels = [256, 512, 1024, 2048]
model = dict(
    data_preprocessor=dict(
        # 0.5 of 255: what MegData73M was trained with, not ImageNet's
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(
        arch='XL',
        norm_intermediate_features=True,
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
train_dataloader = dict(batch_size=2)
