# Mask R-CNN, OverLoCK-T (ImageNet-1K), COCO, 3x.
# Paper: box AP 49.6, mask AP 43.9 (the authors').
# 8 GPUs x 2 images x 36 epochs = 4.26 M samples, like the authors.
_base_ = [
    '_base_/models/mask-rcnn_overlock-t.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x.py',
    '_base_/detection_runtime.py',
]
checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_t_in1k_224.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint)
    )
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    # the authors': by name, which leaves out most batch norms
    paramwise_cfg=dict(
        _delete_=True, custom_keys=dict(norm=dict(decay_mult=0.0))
    ),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
