# UperNet, OverLoCK-T (ImageNet-1K), ADE20K at 512x512.
# Paper: mIoU 50.3 single-scale (the authors').
# 8 GPUs x 2 images x 160,000 iterations = 2.56 M samples, like the authors.
_base_ = [
    '_base_/models/upernet_overlock-t.py',
    '_base_/datasets/ade20k_multiple32.py',
    '_base_/schedules/schedule_160k.py',
    '_base_/segmentation_runtime.py',
]
checkpoint = 'https://github.com/LMMMEng/OverLoCK/releases/download/v1/overlock_t_in1k_224.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(type='mmrep.Pretrained', checkpoint=checkpoint)
    )
)
# the authors resize test images to multiples of 32 in this way
to_multiple = dict(
    type='ResizeToMultiple', size_divisor=32, interpolation='bicubic'
)
test_pipeline = [
    to_multiple if step['type'] == 'ResizeToMultiple' else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
views = _base_.tta_pipeline[1]['transforms']
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[views[0], [to_multiple], *views[2:]],
    ),
]
del views
optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
    # the authors': by name, which leaves out most batch norms
    paramwise_cfg=dict(
        _delete_=True, custom_keys=dict(norm=dict(decay_mult=0.0))
    ),
)
train_cfg = dict(val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(enable=False, base_batch_size=16)
