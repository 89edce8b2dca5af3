# Classifier, RepLKNet-31B (ImageNet-22K, then 1K), 384x384. Evaluation only.
# Top-1 86.0 in the paper; 85.99 (top-5 97.75) as MMPretrain reports.
#
# The same model and data as without ImageNet-22K; the checkpoint differs.
_base_ = './classifier_replknet31b_imagenet-384x384.py'
