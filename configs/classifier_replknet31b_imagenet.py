# Classifier, RepLKNet-31B (ImageNet-1K), 224x224. Evaluation only.
# Top-1 83.5 in the paper; 83.48 (top-5 96.57) as MMPretrain reports.
_base_ = [
    '_base_/models/classifier_replknet31b.py',
    '_base_/datasets/imagenet.py',
    '_base_/classification_runtime.py',
]
