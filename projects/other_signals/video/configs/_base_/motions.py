# The videos that make_motions.py generates: 6 motions, of each 100 videos to
# train, 15 to validate, 20 to test; 24 frames of 40x32.
_base_ = './runtime.py'
motions = dict(
    type='mmrep.VideoDataset', data_root='data/motions/', num_classes=6
)
loader = dict(
    batch_size=8,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(video='train'),
        pipeline=[
            dict(type='mmrep.SampleClips', num_frames=16, interval=1),
            dict(type='mmrep.DecodeClips'),
            # another side would be another class
            dict(
                type='mmrep.RandomViews',
                size=16,
                scale=(0.6, 1.0),
                flip=0.0,
                repeats=2,
            ),
            dict(type='mmrep.PackClips'),
        ],
        **motions,
    ),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(video='val'),
        pipeline=[
            dict(type='mmrep.SampleClips', interval=1, num_clips=1),
            dict(type='mmrep.DecodeClips'),
            dict(type='mmrep.CropViews', size=16, num_crops=1),
            dict(type='mmrep.PackClips'),
        ],
        **motions,
    ),
    **loader,
)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(video='test'),
        pipeline=[
            dict(type='mmrep.SampleClips', interval=1, num_clips=5),
            dict(type='mmrep.DecodeClips'),
            dict(type='mmrep.CropViews', size=16, num_crops=3),
            dict(type='mmrep.PackClips'),
        ],
        **motions,
    ),
    **loader,
)
val_evaluator = dict(type='mmrep.TopKAccuracy', topk=(1,))
test_evaluator = val_evaluator
