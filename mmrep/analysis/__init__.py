"""Measurements of a model: FLOPs, receptive fields, shape bias, speed."""

from mmrep.analysis.backbones import load_backbone
from mmrep.analysis.complexity import (
    Complexity,
    ValuesNeeded,
    count,
)
from mmrep.analysis.erf import (
    ERF,
    Area,
    contribution_scores,
    high_contribution_areas,
    rescale,
)
from mmrep.analysis.shape_bias import (
    ShapeBias,
    Stimulus,
    categories_of,
    count_decisions,
    list_stimuli,
    predict,
)

__all__ = [
    'ERF',
    'Area',
    'Complexity',
    'ShapeBias',
    'Stimulus',
    'ValuesNeeded',
    'categories_of',
    'contribution_scores',
    'count',
    'count_decisions',
    'high_contribution_areas',
    'list_stimuli',
    'load_backbone',
    'predict',
    'rescale',
]
