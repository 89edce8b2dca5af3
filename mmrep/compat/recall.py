"""MMDetection's proposal recall with NumPy 1.24 and later.

``eval_recalls`` makes an array of matrices of different shapes, which NumPy
has refused since then. ``CocoMetric(metric='proposal_fast')`` and
``VOCMetric(metric='recall')`` then fail after the last image.
"""

import sys
from typing import Any, List

import numpy as np

NAME = 'mmdet.evaluation.functional.recall'


class _Ragged:
    """NumPy, but ``array`` accepts matrices of different shapes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def array(values: List[Any], *args: Any, **kwargs: Any) -> np.ndarray:
        try:
            return np.array(values, *args, **kwargs)
        except ValueError:
            array = np.empty(len(values), object)
            for i, value in enumerate(values):
                array[i] = value
            return array


def repair_recalls() -> None:
    """Make recalls work for images with different numbers of boxes."""
    module = sys.modules.get(NAME)
    if module is not None:
        module.np = _Ragged()
