# Hourly temperature at New York's three airports in 2013 (degrees Fahrenheit),
# in the file that prepare_nyc.py writes: 70 % of the year to train, 10 % to
# validate, the last 20 % to test.
_base_ = './runtime.py'
series = dict(
    type='mmrep.SeriesDataset',
    data_file='data/series/nyc_weather_hourly.csv',
    columns='temp_*',
    limits=(-60, 140),
)
loader = dict(
    batch_size=16,
    num_workers=0,
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
