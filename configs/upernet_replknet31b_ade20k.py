# UperNet, RepLKNet-31B (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 49.9 single-scale, 50.6 multi-scale (the authors').
# 8 GPUs x 4 images x 160,000 iterations = 5.12 M samples. The authors' 64 x 2
# x 40,000 are as many; they keep lr=2e-4 from one node to eight.
_base_ = [
    '_base_/models/upernet_replknet31b.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/schedule_160k.py',
    '_base_/segmentation_runtime.py',
]
# The authors' ImageNet-1K 224 weights as MMPretrain publishes them.
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/replknet/replknet-31B_3rdparty_in1k_20221118-fd08e268.pth'  # noqa: E501
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
