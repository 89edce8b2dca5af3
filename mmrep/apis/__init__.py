"""Predicting on images, and drawing what was predicted."""

from mmrep.apis.drawing import draw_segmentation
from mmrep.apis.inferencer import Inferencer, list_images
from mmrep.apis.show import ShowHook
from mmrep.apis.slide import slide_labels

__all__ = [
    'Inferencer',
    'ShowHook',
    'draw_segmentation',
    'list_images',
    'slide_labels',
]
