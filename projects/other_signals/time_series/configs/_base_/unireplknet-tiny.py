# A very small UniRepLKNet: maps of 48x48, 48 values for each of 48 steps.
model = dict(
    type='mmrep.UniRepLKNetForecaster',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(16, 24, 36, 48),
            depths=(1, 1, 2, 1),
            kernel_sizes=((3,), (13,), (13, 3), (11,)),
        ),
        in_channels=1,
        out_indices=(3,),
        layer_scale_init_value=1.0,
    ),
    channels=48,
    num_stations=3,
    num_marks=3,  # hour, day of the week and of the month
    heads=16,
    ffn_channels=128,
)
