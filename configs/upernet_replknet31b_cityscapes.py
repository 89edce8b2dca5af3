# UperNet, RepLKNet-31B (ImageNet-1K), Cityscapes at 769x769.
# Paper: mIoU 83.1 single-scale, 83.5 multi-scale (the authors').
# 8 GPUs x 2 images x 80,000 iterations = 1.28 M samples, as the authors'
# 32 x 2 x 20,000.
_base_ = [
    '_base_/models/upernet_replknet31b.py',
    '_base_/datasets/cityscapes_769x769.py',
    '_base_/schedules/schedule_80k.py',
    '_base_/segmentation_runtime.py',
]
# The authors' ImageNet-1K 224 weights as MMPretrain publishes them.
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/replknet/replknet-31B_3rdparty_in1k_20221118-fd08e268.pth'  # noqa: E501
model = dict(
    data_preprocessor=dict(size=(769, 769)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=19, align_corners=True),
    auxiliary_head=dict(num_classes=19, align_corners=True),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
