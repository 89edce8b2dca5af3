# Hourly wind speed at New York's three airports in 2013 (miles per hour), from
# the same file; more than 150 mph is a mistake in the data.
_base_ = './nyc_temp.py'
columns = dict(columns='wind_*', limits=(0, 150))
train_dataloader = dict(dataset=columns)
val_dataloader = dict(dataset=columns)
test_dataloader = dict(dataset=columns)
