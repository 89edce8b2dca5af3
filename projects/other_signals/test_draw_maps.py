"""The pictures of docs/modalities.md are those that the tool draws."""

import sys
from pathlib import Path

import cv2
import numpy as np

from projects.other_signals import draw_maps

PICTURES = Path(__file__).parents[2] / 'docs/modalities'


def test_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['draw_maps.py', str(tmp_path)])
    draw_maps.main()
    names = sorted(path.name for path in PICTURES.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4
    for name in names:
        drawn, shown = (
            cv2.imread(str(folder / name)).astype(float)
            for folder in (tmp_path, PICTURES)
        )
        assert np.abs(drawn - shown).mean() < 0.5, name
