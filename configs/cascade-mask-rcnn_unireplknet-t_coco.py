# Cascade Mask R-CNN, UniRepLKNet-T (ImageNet-1K), COCO, 3x.
# Paper: box AP 51.7, mask AP 44.9 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = [
    '_base_/models/cascade-mask-rcnn_unireplknet-t.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x_layer-decay.py',
    '_base_/detection_runtime.py',
]
checkpoint = 'https://huggingface.co/DingXiaoH/UniRepLKNet/resolve/main/unireplknet_t_in1k_224_acc83.21.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint)
    )
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
