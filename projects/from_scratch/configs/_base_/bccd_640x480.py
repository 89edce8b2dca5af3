# The data set bccd.py at the images' own size.
_base_ = '../../../../configs/_base_/datasets/bccd.py'

scale = (640, 480)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(0.5, 1.5),
        keep_ratio=True,
    ),
    *_base_.train_pipeline[3:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale=scale, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
resizes = [
    dict(type='Resize', scale=(int(640 * r), int(480 * r)), keep_ratio=True)
    for r in (0.75, 1.0, 1.25)
]
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[resizes, *_base_.tta_pipeline[1]['transforms'][1:]],
    ),
]
del resizes
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
