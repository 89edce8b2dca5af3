# UperNet, RepLKNet-31B (ImageNet-22K), ADE20K with crops of 640x640.
# Paper: mIoU 51.5 single-scale, 52.3 multi-scale (the authors').
# 8 GPUs x 4 images x 160,000 iterations = 5.12 M samples, as the authors'
# 64 x 2 x 40,000.
#
# It differs from upernet_replknet31b_ade20k.py in the weights, the crop, less
# drop path, and a test in windows. As in the authors' config images are
# resized to 2048x512 here, too; only their FLOPs are of 2560x640.
_base_ = [
    '_base_/models/upernet_replknet31b.py',
    '_base_/datasets/ade20k_crop640.py',
    '_base_/schedules/schedule_160k.py',
    '_base_/segmentation_runtime.py',
]
# docs/model_zoo.md#weights says where it comes from.
checkpoint = 'pretrained/RepLKNet-31B_ImageNet-22K.pth'
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    test_cfg=dict(mode='slide', crop_size=(640, 640), stride=(426, 426)),
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
