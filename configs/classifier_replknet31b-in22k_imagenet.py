# Classifier, RepLKNet-31B (ImageNet-22K, then 1K), 224x224. Evaluation only.
# Top-1 85.2 in the paper; 85.20 (top-5 97.56) as MMPretrain reports.
#
# The same model and data as without ImageNet-22K; the checkpoint differs.
_base_ = './classifier_replknet31b_imagenet.py'
