# Cascade Mask R-CNN, RepLKNet-31L (ImageNet-22K), COCO, 3x.
# Paper: box AP 53.9, mask AP 46.5 (the authors').
# 8 GPUs x 4 images x 36 epochs = 4.26 M samples; see 31B's config.
#
# Differences: the widths, the weights and more drop path.
_base_ = './cascade-mask-rcnn_replknet31b-in22k_coco.py'
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-31L_ImageNet-22K.pth'
model = dict(
    backbone=dict(
        arch='31L',
        drop_path_rate=0.7,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
