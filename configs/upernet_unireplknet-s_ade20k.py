# UperNet, UniRepLKNet-S (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 50.5 single-scale, 51.0 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = [
    '_base_/models/upernet_unireplknet-t.py',
    '_base_/datasets/ade20k_multiple32.py',
    '_base_/schedules/schedule_160k_layer-decay.py',
    '_base_/segmentation_runtime.py',
]
checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_s_in1k_224_acc83.91.pth'
channels = [96, 192, 384, 768]
model = dict(
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
