# Temperature of 3,850 stations worldwide, 48 hours in, 24 out; the authors'
# MSE / MAE: 7.602 / 1.832 (degrees Celsius). Not trained here.
# 1 process x 1 window x 10 epochs.
_base_ = './_base_/ncei.py'
