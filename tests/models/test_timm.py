"""Test the backbones as timm's models, where timm is installed."""

import pytest
import torch

timm = pytest.importorskip('timm', reason='timm is not installed')

import mmrep.timm  # noqa: E402
from mmrep.errors import UsageError  # noqa: E402
from mmrep.models import UniRepLKNet  # noqa: E402

NAME = 'unireplknet_a.mmrep'


@pytest.mark.parametrize('name', mmrep.timm._MODELS)
def test_feature_info_of_all(name):
    with torch.device('meta'):
        model = timm.create_model(f'{name}.mmrep', features_only=True)
    maps = model.to('meta')(torch.rand(1, 3, 64, 64, device='meta'))
    assert model.feature_info.channels() == [m.shape[1] for m in maps]
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    assert name in timm.list_models()


def test_indices_and_channels(capsys):
    model = timm.create_model(
        NAME, features_only=True, out_indices=(1, -1), in_chans=4
    )
    assert not capsys.readouterr().out
    maps = model(torch.rand(1, 4, 64, 64))
    assert [m.shape for m in maps] == [(1, 80, 8, 8), (1, 320, 2, 2)]
    assert model.feature_info.channels() == [80, 320]
    last = timm.create_model(NAME, features_only=True, out_indices=1)
    assert last.feature_info.channels() == [320]


def test_weights_of_a_file(tmp_path):
    backbone = UniRepLKNet('A')
    path = tmp_path / 'a.pth'
    torch.save(backbone.state_dict(), path)
    model = timm.create_model(
        NAME,
        pretrained=True,
        features_only=True,
        pretrained_cfg_overlay=dict(file=str(path)),
    )
    x = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(backbone.eval()(x), model.eval()(x), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    'arguments, line',
    [
        (dict(), 'features_only=True'),
        (dict(features_only=True, pretrained=True), 'comes without weights'),
    ],
)
def test_what_is_refused(arguments, line):
    with pytest.raises(UsageError, match=line):
        timm.create_model(NAME, **arguments)


def test_encoder_of_segmentation_models():
    smp = pytest.importorskip(
        'segmentation_models_pytorch',
        reason='segmentation_models_pytorch is not installed',
    )
    model = smp.Unet(f'tu-{NAME}', encoder_weights=None, classes=3)
    logits = model(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 3, 64, 64)
    logits.mean().backward()
    assert next(model.encoder.parameters()).grad is not None
