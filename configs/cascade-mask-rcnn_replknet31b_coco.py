# Cascade Mask R-CNN, RepLKNet-31B (ImageNet-1K), COCO, 3x.
# Paper: box AP 52.2, mask AP 45.2 (the authors').
# 8 GPUs x 4 images x 36 epochs = 4.26 M samples. The authors state lr=4e-4 and
# the epochs, but no total batch; 32 is their XL's 4 images on 8 GPUs.
_base_ = [
    '_base_/models/cascade-mask-rcnn_replknet31b.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x.py',
    '_base_/detection_runtime.py',
]
# The authors' ImageNet-1K 224 weights as MMPretrain publishes them.
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/replknet/replknet-31B_3rdparty_in1k_20221118-fd08e268.pth'  # noqa: E501
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
