"""Classes of point clouds, by UniRepLKNet on projections of them."""

from .classifier import PointCloudClassifier
from .clouds import CloudAccuracy, PointCloudDataset

__all__ = ['CloudAccuracy', 'PointCloudClassifier', 'PointCloudDataset']
