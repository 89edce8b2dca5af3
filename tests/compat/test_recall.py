"""Recalls of proposals, which MMDetection fails to compute by itself."""

import numpy as np
import pytest
from mmdet.evaluation.functional import eval_recalls, recall

from mmrep.compat.recall import repair_recalls

TRUE = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
# images with two, one and no true boxes, and other numbers of proposals
TRUTHS = [TRUE, TRUE[:1], np.zeros((0, 4), np.float32)]
PROPOSALS = [TRUE[:1], np.concatenate([TRUE, TRUE + 50]), TRUE]


def test_upstream_still_fails(monkeypatch):
    """Else mmrep.compat.recall is not needed any more."""
    monkeypatch.setattr(recall, 'np', np)
    with pytest.raises(ValueError, match='inhomogeneous'):
        eval_recalls(TRUTHS, PROPOSALS, [100], [0.5], logger='silent')


def test_recalls(monkeypatch):
    monkeypatch.setattr(recall, 'np', np)
    repair_recalls()
    found = eval_recalls(
        TRUTHS, PROPOSALS, [1, 100], [0.5, 0.9], logger='silent'
    )
    # of three true boxes one in the first image is not found
    np.testing.assert_allclose(found, 2 / 3)
