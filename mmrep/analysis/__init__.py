from mmrep.analysis.complexity import Complexity, build_on_meta, count
from mmrep.analysis.erf import (
    ERF,
    Area,
    contribution_scores,
    high_contribution_areas,
    rescale,
)

__all__ = [
    'ERF',
    'Area',
    'Complexity',
    'build_on_meta',
    'contribution_scores',
    'count',
    'high_contribution_areas',
    'rescale',
]
