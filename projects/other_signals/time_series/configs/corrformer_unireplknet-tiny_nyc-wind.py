# A very small UniRepLKNet from scratch; README.md has its errors.
# 1 process x 8 windows x 4 epochs.
_base_ = ['./_base_/nyc_wind.py', './_base_/unireplknet-tiny.py']
