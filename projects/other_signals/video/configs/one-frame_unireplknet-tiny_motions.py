# reshape_unireplknet-tiny_motions.py with one frame of each clip in place of
# all: chance is 16.7.
_base_ = './reshape_unireplknet-tiny_motions.py'
one = dict(type='mmrep.KeepOneFrame')
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.train_dataloader.dataset.pipeline[:2],
            one,
            *_base_.train_dataloader.dataset.pipeline[2:],
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.val_dataloader.dataset.pipeline[:2],
            one,
            *_base_.val_dataloader.dataset.pipeline[2:],
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.test_dataloader.dataset.pipeline[:2],
            one,
            *_base_.test_dataloader.dataset.pipeline[2:],
        ]
    )
)
