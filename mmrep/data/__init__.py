"""Data sets: forms, conversion, checks before a run, folders of images."""

from mmrep.data.classification import (
    FolderDataset,
    PackClassification,
    TopKAccuracy,
)

__all__ = ['FolderDataset', 'PackClassification', 'TopKAccuracy']
