# The data set that projects/other_signals/audio/make_audio.py generates: 400
# training and 80 validation spectrograms of 128 bins x 256 frames, grey, 6
# classes.
crop_size = (128, 256)
metainfo = dict(
    classes=('quiet', 'tone', 'sweep', 'siren', 'noise', 'clicks'),
    palette=[
        [40, 40, 40],
        [230, 25, 75],
        [255, 225, 25],
        [60, 180, 75],
        [0, 130, 200],
        [245, 130, 48],
    ],
)
load = dict(type='LoadImageFromFile', color_type='grayscale')
train_pipeline = [
    load,
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(256, 128),
        ratio_range=(0.9, 1.2),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    # backwards in time no event becomes another; upside down some would
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    load,
    dict(type='Resize', scale=(256, 128), keep_ratio=True),
    # after Resize, because predictions are compared at the original size
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    load,
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(int(256 * r), int(128 * r)),
                    keep_ratio=True,
                )
                for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
audio = dict(
    type='BaseSegDataset',
    data_root='data/audio',
    metainfo=metainfo,
    img_suffix='.png',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=train_pipeline,
        **audio,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation',
        ),
        pipeline=test_pipeline,
        **audio,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
