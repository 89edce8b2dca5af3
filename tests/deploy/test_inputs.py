"""Which models are taken, and what is said of pictures and pipelines."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmrep.apis import Inferencer
from mmrep.deploy import build_model
from mmrep.deploy.inputs import picture_input
from mmrep.deploy.models import model_kind
from mmrep.engine import load_config
from mmrep.errors import UsageError

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs/fcos_replknet-tiny_shapes.py'


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))
    return str(path)


@pytest.fixture
def segmentor(small_segmentor):
    cfg = load_config(str(small_segmentor[0]))
    return cfg, build_model(cfg)


def test_kind_of_a_model(segmentor):
    assert model_kind(segmentor[1]) == 'segmentor'
    detector = build_model(load_config(str(DETECTOR)))
    assert model_kind(detector) == 'detector'
    text = 'must be a segmentor or a detector, got RepLKNet'
    with pytest.raises(UsageError, match=text):
        model_kind(detector.backbone)


def test_classifiers_are_refused(
    run_tool, small_classifier, tmp_path, picture
):
    cfg = load_config(str(small_classifier))
    checkpoint = tmp_path / 'in.pth'
    torch.save(dict(state_dict=build_model(cfg).state_dict()), checkpoint)
    text = 'must be a segmentor or a detector, got ImageClassifier'
    with pytest.raises(UsageError, match=text):
        Inferencer(cfg, str(checkpoint), device='cpu')
    done = run_tool(
        ROOT / 'tools/reparameterize.py', small_classifier, checkpoint,
        tmp_path / 'm.pth', '--image', picture,
    )  # fmt: skip
    assert done.returncode == 1 and text in done.stderr
    assert 'Traceback' not in done.stderr


def test_picture(segmentor, picture):
    assert picture_input(*segmentor, picture).shape[:2] == (1, 3)
    Path(picture).write_text('text')
    with pytest.raises(UsageError, match='a.png is not a readable image'):
        picture_input(*segmentor, picture)


def test_pipeline_that_fails(segmentor, picture):
    """The picture is sound, and not blamed."""
    cfg, model = segmentor
    cfg.test_dataloader.dataset.pipeline[1].scale = (0, 0)
    with pytest.raises(UsageError) as error:
        picture_input(cfg, model, picture)
    text = str(error.value)
    assert 'the test pipeline of the config failed in Resize' in text
    assert picture in text and '\n' not in text
