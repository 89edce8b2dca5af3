import pytest
import torch

from mmrep.analysis.forms import FORMS, build_form
from mmrep.engine import load_config
from mmrep.errors import UsageError


@pytest.fixture
def cfg(small_segmentor):
    return load_config(str(small_segmentor[0]))


@pytest.mark.parametrize('form', ['train', 'deploy'])
def test_forms_give_the_same_maps(cfg, form):
    out = []
    for name in ('train', form):
        torch.manual_seed(0)
        out.append(build_form(cfg, name, (64, 96), 2)())
    assert out[0].shape == (2, 7, 64, 96)
    torch.testing.assert_close(*out, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_onnx_runtime(cfg):
    (out,) = build_form(cfg, 'onnx', (64, 96), 2)()
    assert out.shape == (2, 7, 64, 96)


def test_wrong_forms(cfg):
    with pytest.raises(UsageError, match='form must be one of'):
        build_form(cfg, 'merged', (64, 64))
    with pytest.raises(UsageError, match='on a CPU in fp32'):
        build_form(cfg, 'onnx', (64, 64), dtype=torch.bfloat16)
    assert len(FORMS) == 4
