# A small UniRepLKNet from scratch. Not trained yet.
# 1 process x 16 windows x 10 epochs.
_base_ = ['./_base_/nyc_temp.py', './_base_/unireplknet-tiny.py']
