import pytest

from mmrep.deploy import load_model
from mmrep.engine import load_config


@pytest.fixture
def segmentor(small_segmentor):
    config, checkpoint = small_segmentor
    return load_model(load_config(str(config)), str(checkpoint), deploy=True)
