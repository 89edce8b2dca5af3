# Classifier, RepLKNet-XL (MegData73M, then ImageNet-1K), 320x320. Evaluation
# only. Top-1 87.8 in the paper. MMPretrain reports 87.57 (top-5 98.39), and its
# config has a mean and standard deviation of 122.5; the authors' are 127.5.
_base_ = './classifier_replknet31b_imagenet.py'
model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]
    ),
    backbone=dict(arch='XL'),
    in_channels=2048,
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Resize',
        # 256 / 224 of the crop, as at 224
        scale=(100000, 365),
        keep_ratio=True,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=320),
    dict(type='mmrep.PackClassification'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
