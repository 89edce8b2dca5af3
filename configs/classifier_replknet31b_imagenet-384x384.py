# Classifier, RepLKNet-31B (ImageNet-1K), 384x384. Evaluation only.
# Top-1 84.8 in the paper; 84.84 (top-5 97.34) as MMPretrain reports.
#
# At 384 the authors warp the whole image to the size instead of cropping.
_base_ = './classifier_replknet31b_imagenet.py'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Resize',
        scale=(384, 384),
        keep_ratio=False,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmrep.PackClassification'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
