"""Data sets: what they must be before a run, and folders of images."""

from mmrep.data.classification import (
    FolderDataset,
    PackClassification,
    TopKAccuracy,
)

__all__ = ['FolderDataset', 'PackClassification', 'TopKAccuracy']
