# The published data sets: hours of 3,850 stations worldwide, in files that
# prepare_ncei.py writes. The values are tenths of a degree Celsius, or of a
# metre per second.
_base_ = './runtime.py'
series = dict(
    type='mmrep.SeriesDataset',
    data_root='data/global_temp/',
    data_file='temp_global_hourly_{split}.npy',
    times_file='data_time_{split}.npy',
    unit=0.1,
)
loader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', **series),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', **series),
    **loader,
)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **series),
    **loader,
)
model = dict(
    type='mmrep.UniRepLKNetForecaster',
    backbone=dict(
        type='mmrep.UniRepLKNet',
        # S with a smaller kernel in the last stage
        arch=dict(
            channels=(96, 192, 384, 768),
            depths=(3, 3, 27, 3),
            kernel_sizes=((3,) * 3, (13,) * 3, (13, 3, 3) * 9, (11,) * 3),
        ),
        in_channels=1,
        out_indices=(3,),
        drop_path_rate=0.4,
        with_cp=True,
    ),
    channels=768,
    # 350 stations, of each the series of 11 places
    num_stations=350,
    station_channels=11,
    tree=(7, 50),
    positions='data/global_temp/stations_sorted.npy',
)
