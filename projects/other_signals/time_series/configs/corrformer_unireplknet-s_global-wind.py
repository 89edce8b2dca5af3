# Wind of 3,850 stations worldwide, 48 hours in, 24 out; the authors' MSE / MAE:
# 3.865 / 1.301 (metres per second). Not trained here.
# 1 process x 1 window x 10 epochs.
_base_ = './_base_/ncei.py'
files = dict(
    data_root='data/global_wind/', data_file='wind_global_hourly_{split}.npy'
)
train_dataloader = dict(dataset=files)
val_dataloader = dict(dataset=files)
test_dataloader = dict(dataset=files)
model = dict(positions='data/global_wind/stations_sorted.npy')
