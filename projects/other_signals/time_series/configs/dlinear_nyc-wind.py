# A linear model beside corrformer_unireplknet-tiny_nyc-wind.py, trained the same way.
# 1 process x 8 windows x 4 epochs.
_base_ = './_base_/nyc_wind.py'
model = dict(type='mmrep.DLinear')
