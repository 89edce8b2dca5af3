import pytest
import torch

from mmrep.analysis.inference import FORMS, build_form, build_predictor
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
        out.append(build_form(cfg, name, (64, 96), 2).run())
    assert out[0].shape == (2, 7, 64, 96)
    torch.testing.assert_close(*out, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_onnx_runtime(cfg):
    # exported in half the time that UPerHead takes
    cfg.model.decode_head = dict(
        type='FCNHead', in_channels=20, in_index=3, channels=8, num_convs=1,
        num_classes=7, norm_cfg=dict(type='BN'),
    )  # fmt: skip
    sizes = []
    for form in ('onnx', 'int8'):
        run, megabytes, _ = build_form(cfg, form, (64, 96), 2)
        (out,) = run().values()
        assert out.shape == (2, 7, 64, 96)
        sizes.append(megabytes)
    assert sizes[0] > sizes[1] > 0


def test_wrong_forms_of_trained_models(cfg):
    with pytest.raises(UsageError, match="form must be one of.*'int8'"):
        build_predictor(cfg, 'm.pth', 'merged', (64, 64))
    with pytest.raises(UsageError, match='its own precision'):
        build_predictor(cfg, 'm.pth', 'int8', (64, 64), half='bf16')


@pytest.mark.slow
def test_file_that_cannot_be_made(cfg):
    """The process that makes it says why in one line."""
    with pytest.raises(UsageError, match='^the checkpoint must be an exist'):
        build_predictor(cfg, 'm.pth', 'onnx', (64, 64))


def test_wrong_forms(cfg):
    with pytest.raises(UsageError, match='form must be one of'):
        build_form(cfg, 'merged', (64, 64))
    with pytest.raises(UsageError, match='in its own precision'):
        build_form(cfg, 'onnx', (64, 64), half='bf16')
    with pytest.raises(UsageError, match='in its own precision'):
        build_form(cfg, 'onnx', (64, 64), channels_last=True)
    with pytest.raises(UsageError, match="needs a GPU, got 'cpu'"):
        build_form(cfg, 'deploy', (64, 64), cuda_graph=True)
    assert len(FORMS) == 6


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a CUDA device'
)
def test_cuda_graph(cfg):
    out = []
    for cuda_graph in (False, True):
        torch.manual_seed(0)
        form = build_form(
            cfg, 'deploy', (64, 96), device='cuda', half='bf16',
            channels_last=True, cuda_graph=cuda_graph,
        )  # fmt: skip
        out.append(form.run().float())
    torch.testing.assert_close(*out, rtol=1e-2, atol=1e-2)
