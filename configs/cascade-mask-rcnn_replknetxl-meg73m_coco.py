# Cascade Mask R-CNN, RepLKNet-XL (MegData73M), COCO, 3x.
# Paper: box AP 55.5, mask AP 48.0 (the authors').
# 8 GPUs x 4 images x 36 epochs = 4.26 M samples. The 4 images and lr=4e-4 are
# the authors', the number of GPUs is not stated.
#
# It differs from 31B's config in the arch, norms on the maps that the neck
# gets, drop path, and the mean and standard deviation of its pretraining, also
# in validation, where the authors' config keeps ImageNet's.
_base_ = './cascade-mask-rcnn_replknet31b-in22k_coco.py'
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-XL_MegData73M.pth'
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
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
