# Classifier, RepLKNet-31L (ImageNet-22K, then 1K), 384x384. Evaluation only.
# Top-1 86.6 in the paper; 86.63 (top-5 98.00) as MMPretrain reports.
_base_ = './classifier_replknet31b_imagenet-384x384.py'
model = dict(backbone=dict(arch='31L'), in_channels=1536)
