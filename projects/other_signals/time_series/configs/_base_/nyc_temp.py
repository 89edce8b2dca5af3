# Hourly temperature at New York's three airports in 2013 (degrees Fahrenheit),
# in the file that prepare_nyc.py writes: 70 % of the year to train, 10 % to
# validate, the last 20 % to test. The day of the year is not given, because
# training does not see those of the test. Training takes a window every seven
# hours, which in seven days begins at each hour of the day once.
_base_ = './runtime.py'
series = dict(
    type='mmrep.SeriesDataset',
    data_root='data/series/',
    data_file='nyc_weather_hourly.csv',
    columns='temp_*',
    limits=(-60, 140),
    day_of_year=False,
)
loader = dict(
    batch_size=8,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', stride=7, **series),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', stride=7, **series),
    **loader,
)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', **series),
    **loader,
)
# 20 times the published learning rate, halved after each epoch as published
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_epochs=4)
