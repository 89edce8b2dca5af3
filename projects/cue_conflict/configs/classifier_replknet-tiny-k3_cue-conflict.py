# The small RepLKNet of classifier_replknet-tiny_cue-conflict.py with kernels
# of 3x3 instead of the large ones.
_base_ = './classifier_replknet-tiny_cue-conflict.py'
model = dict(
    backbone=dict(arch=dict(kernel_sizes=(3, 3, 3), small_kernel=None))
)
