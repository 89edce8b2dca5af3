# The ImageNet classifier of RepLKNet-31B, with MMPretrain's parameter names.
model = dict(
    type='mmrep.ImageClassifier',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        # ImageNet statistics
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='mmrep.RepLKNet',
        arch='31B',
        out_indices=(3,),
        # the norm in front of the head, stages.3.norm
        norm_intermediate_features=True,
    ),
    in_channels=1024,
    num_classes=1000,
)
