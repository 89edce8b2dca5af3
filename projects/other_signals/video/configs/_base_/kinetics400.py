# Kinetics-400: videos in a folder for each class. With the lists of the
# published code or of Kinetics, set ann_file of the data sets.
_base_ = './runtime.py'
kinetics = dict(
    type='mmrep.VideoDataset', data_root='data/kinetics400/', num_classes=400
)
loader = dict(
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(video='train'),
        pipeline=[
            dict(type='mmrep.SampleClips', num_frames=16, interval=4),
            dict(type='mmrep.DecodeClips'),
            # two views of each clip
            dict(type='mmrep.RandomViews', size=224, repeats=2),
            dict(type='mmrep.PackClips'),
        ],
        **kinetics,
    ),
    **loader,
)
val_dataloader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(video='val'),
        pipeline=[
            dict(type='mmrep.SampleClips', interval=4, num_clips=1),
            dict(type='mmrep.DecodeClips'),
            dict(type='mmrep.CropViews', size=224, num_crops=1),
            dict(type='mmrep.PackClips'),
        ],
        **kinetics,
    ),
    **loader,
)
test_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(video='val'),
        pipeline=[
            # five clips, three squares of each
            dict(type='mmrep.SampleClips', interval=4, num_clips=5),
            dict(type='mmrep.DecodeClips'),
            dict(type='mmrep.CropViews', size=224, num_crops=3),
            dict(type='mmrep.PackClips'),
        ],
        **kinetics,
    ),
    **loader,
)
val_evaluator = dict(type='mmrep.TopKAccuracy', topk=(1, 5))
test_evaluator = val_evaluator
