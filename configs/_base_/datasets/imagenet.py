# ImageNet-1K validation images, 224x224: the centre of an image whose shorter
# side is 256, as the authors evaluate. data_root holds val/, with a folder for
# each of the 1,000 WordNet ids.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Resize',
        # the longer side is free
        scale=(100000, 256),
        keep_ratio=True,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='mmrep.PackClassification'),
]
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrep.FolderDataset',
        data_root='data/imagenet',
        data_prefix=dict(img_path='val'),
        num_classes=1000,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='mmrep.TopKAccuracy', topk=(1, 5))
test_cfg = dict(type='TestLoop')
