# UperNet, UniRepLKNet-S (ImageNet-22K, tuned on 1K), ADE20K at 640x640.
# Paper: mIoU 52.3 single-scale, 52.7 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
#
# The authors' configs at 640x640 define crops of that size, but leave the
# training data with their base's of 512x512; this corrects it.
_base_ = [
    '_base_/models/upernet_unireplknet-t.py',
    '_base_/datasets/ade20k_640x640.py',
    '_base_/schedules/schedule_160k_layer-decay.py',
    '_base_/segmentation_runtime.py',
]
checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_s_in22k_to_in1k_384_acc86.44.pth'
channels = [96, 192, 384, 768]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='S',
        drop_path_rate=0.3,
        with_cp=True,
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=channels),
    auxiliary_head=dict(in_channels=channels[2]),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
