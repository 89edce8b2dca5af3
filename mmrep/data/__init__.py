"""Data sets: formats, conversion, checks before a run, image folders."""

from mmrep.data.classification import (
    FolderDataset,
    PackClassification,
    TopKAccuracy,
)

__all__ = ['FolderDataset', 'PackClassification', 'TopKAccuracy']
