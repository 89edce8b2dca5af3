# A very small UniRepLKNet from scratch; README.md has its errors.
# 1 process x 8 windows x 4 epochs.
_base_ = ['./_base_/irish_wind.py', './_base_/unireplknet-tiny.py']
# days of the week, the month and the year
model = dict(num_stations=12, num_marks=3)
