# ade20k.py with crops of 640x640 out of images of the same scale, as the
# authors of RepLKNet trained from ImageNet-22K and MegData73M weights.
_base_ = './ade20k.py'

crop_size = (640, 640)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
