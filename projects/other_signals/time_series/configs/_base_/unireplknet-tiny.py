# A small UniRepLKNet: maps of 96x96, 192 values for each of 48 steps.
model = dict(
    type='mmrep.UniRepLKNetForecaster',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        arch=dict(
            channels=(24, 48, 96, 192),
            depths=(1, 1, 4, 1),
            kernel_sizes=((3,), (13,), (13, 3, 13, 3), (11,)),
        ),
        in_channels=1,
        out_indices=(3,),
        drop_path_rate=0.1,
    ),
    channels=192,
    num_stations=3,
    heads=16,
    ffn_channels=512,
)
