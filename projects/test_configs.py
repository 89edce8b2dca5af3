"""The models of the projects' configs train; tests/configs/ has the rest."""

import pytest
from shipped_configs import (
    CONFIGS,
    DETECTORS,
    SEGMENTORS,
    check_detector,
    check_segmentor,
)


def parameters(paths):
    return [pytest.param(p, id=p.stem) for p in paths if p.parent != CONFIGS]


@pytest.mark.parametrize('path', parameters(SEGMENTORS))
def test_training_and_prediction(path):
    check_segmentor(path, train=True)


@pytest.mark.parametrize('path', parameters(DETECTORS))
def test_training_and_detection(path):
    check_detector(path, train=True)
