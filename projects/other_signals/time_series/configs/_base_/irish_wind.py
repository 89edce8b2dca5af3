# Daily wind at 12 stations in Ireland, 1961 to 1978 (knots): 48 days in, 24
# out. The file is the table `wind` of R's package gstat, with its three
# columns of the date as one in front.
_base_ = './nyc_temp.py'
source = dict(
    data_file='irish_wind_daily.csv',
    columns='*',
    step='D',
    limits=(0, 100),
    day_of_year=True,
)
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = dict(dataset=source)
# a week
val_evaluator = dict(period=7)
test_evaluator = dict(period=7)
