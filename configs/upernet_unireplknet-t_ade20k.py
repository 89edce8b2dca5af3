# UperNet, UniRepLKNet-T (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 48.6 single-scale, 49.1 multi-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = [
    '_base_/models/upernet_unireplknet-t.py',
    '_base_/datasets/ade20k_multiple32.py',
    '_base_/schedules/schedule_160k_layer-decay.py',
    '_base_/segmentation_runtime.py',
]
checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_t_in1k_224_acc83.21.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint)
    )
)
# the authors': 0.9 or 1 makes almost no difference
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=1.0, num_layers=9))
auto_scale_lr = dict(enable=False, base_batch_size=16)
