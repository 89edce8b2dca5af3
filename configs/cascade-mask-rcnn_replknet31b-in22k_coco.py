# Cascade Mask R-CNN, RepLKNet-31B (ImageNet-22K), COCO, 3x.
# Paper: box AP 53.0, mask AP 46.0 (the authors').
# 8 GPUs x 4 images x 36 epochs = 4.26 M samples; see the ImageNet-1K config.
#
# Differences: the weights and less drop path.
_base_ = './cascade-mask-rcnn_replknet31b_coco.py'
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-31B_ImageNet-22K.pth'
model = dict(
    backbone=dict(
        drop_path_rate=0.4,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=checkpoint),
    )
)
