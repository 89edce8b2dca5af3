"""Predict on images and draw the predictions."""

from mmrep.apis.create import (
    Detector,
    Segmentor,
    create_model,
    from_pretrained,
)
from mmrep.apis.drawing import draw_segmentation
from mmrep.apis.inferencer import Inferencer, list_images
from mmrep.apis.show import ShowHook
from mmrep.apis.slide import slide_labels

__all__ = [
    'Detector',
    'Inferencer',
    'Segmentor',
    'ShowHook',
    'create_model',
    'draw_segmentation',
    'from_pretrained',
    'list_images',
    'slide_labels',
]
