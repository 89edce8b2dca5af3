# A small UniRepLKNet from scratch. Not trained yet.
# 1 process x 16 windows x 10 epochs.
_base_ = ['./_base_/irish_wind.py', './_base_/unireplknet-tiny.py']
model = dict(num_stations=12, num_marks=3)
