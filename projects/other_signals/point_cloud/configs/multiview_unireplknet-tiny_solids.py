# A small UniRepLKNet on four views of 28x28 from scratch, generated solids.
# 1 process x 16 clouds x 15 epochs.
_base_ = './_base_/solids.py'
model = dict(
    type='mmrep.PointCloudClassifier',
    projection=dict(
        size=28,
        num_views=4,
        neighbours=32,
        channels=16,
        token_channels=16,
        heads=2,
    ),
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(16, 32, 64, 96),
            depths=(1, 1, 2, 1),
            kernel_sizes=((3,), (7,), (7, 3), (3,)),
        ),
        out_indices=(3,),
        layer_scale_init_value=1.0,
    ),
    in_channels=96,
    num_classes=8,
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
