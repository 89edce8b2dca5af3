# Mask R-CNN, OverLoCK-T (ImageNet-1K), COCO, 1x.
# Paper: box AP 48.3, mask AP 43.3 (the authors').
# 8 GPUs x 2 images x 12 epochs = 1.42 M samples, like the authors.
_base_ = [
    '_base_/models/mask-rcnn_overlock-t.py',
    '_base_/datasets/coco_instance_one-scale.py',
    '_base_/schedules/schedule_1x.py',
    '_base_/detection_runtime.py',
]
checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_t_in1k_224.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint)
    )
)
optim_wrapper = dict(
    # the authors': by name, which leaves out most batch norms
    paramwise_cfg=dict(
        _delete_=True, custom_keys=dict(norm=dict(decay_mult=0.0))
    ),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
