# The guidelines' experiments in MobileNetV2 (projects/guidelines/guidelines.py
# --full), from scratch, CamVid at 480x360.
# 1 GPU x 16 images x 4,000 iterations = 64,000 samples, 174 epochs.
_base_ = [
    '_base_/fcn_mobilenetv2.py',
    '../../../configs/_base_/datasets/camvid.py',
    '../../../configs/_base_/schedules/schedule_160k.py',
    '../../../configs/_base_/segmentation_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(352, 352)), decode_head=dict(num_classes=11)
)
train_dataloader = dict(batch_size=16, num_workers=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=100, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=100,
        end=4000,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=4000, val_interval=1000)
# variants are compared where their schedules end, not at their best
default_hooks = dict(
    checkpoint=dict(interval=1000, max_keep_ckpts=1, save_best=None)
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
