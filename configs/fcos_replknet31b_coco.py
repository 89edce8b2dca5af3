# FCOS, RepLKNet-31B (ImageNet-1K), COCO, 2x.
# Paper: box AP 47.0 (the authors').
# 8 GPUs x 2 images x 24 epochs = 2.84 M samples. The authors state 2 images a
# GPU, lr=2e-4 and the epochs; 8 GPUs are MMDetection's habit and assumed.
_base_ = [
    '_base_/models/fcos_replknet31b.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_2x.py',
    '_base_/detection_runtime.py',
]
# The authors' ImageNet-1K 224 weights as MMPretrain publishes them.
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/replknet/replknet-31B_3rdparty_in1k_20221118-fd08e268.pth'  # noqa: E501
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
