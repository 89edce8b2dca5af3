# ade20k.py with both sides of a test image resized to multiples of 32, which
# UniRepLKNet's published scores need; 2 images per GPU.
_base_ = './ade20k.py'

to_multiple = dict(type='ResizeToMultiple', size_divisor=32)
# after Resize and before LoadAnnotations: labels keep their size
test_pipeline = [
    *_base_.test_pipeline[:2],
    to_multiple,
    *_base_.test_pipeline[2:],
]
views = _base_.tta_pipeline[1]['transforms']
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[views[0], [to_multiple], *views[1:]],
    ),
]
del views
train_dataloader = dict(batch_size=2)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
