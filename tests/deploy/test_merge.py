import os
from unittest.mock import patch

import pytest
import torch
from mmdet.models import ResNet as MMDetResNet
from mmengine.config import Config
from mmseg.models import EncoderDecoder
from torch import nn

from mmrep.deploy import (
    build_model,
    load_model,
    reparameterize,
    to_deploy_form,
)
from mmrep.deploy.compare import compare, outputs
from mmrep.deploy.deploy_form import deploy_config, is_deploy_config
from mmrep.deploy.inputs import random_input
from mmrep.engine import load_config
from mmrep.errors import UsageError
from mmrep.registry import MODELS

INPUTS = dict(random=random_input((64, 96)))


@pytest.fixture
def cfg(small_segmentor):
    return load_config(str(small_segmentor[0]))


def test_files_load_strictly_and_compute_the_same(
    cfg, small_segmentor, tmp_path
):
    checkpoint = str(small_segmentor[1])
    done = reparameterize(cfg, checkpoint, f'{tmp_path}/m.pth', INPUTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['m.pth', 'm.py']
    assert done.norms[0] > 0 and done.norms[1] == 0
    assert done.parameters[1] < done.parameters[0]
    (differences,) = done.differences.values()
    assert 0 < differences[0].relative < 1e-4
    # decode head, auxiliary head and the backbone's maps
    assert len(differences) == 6
    moved = tmp_path / 'elsewhere'
    moved.mkdir()
    (tmp_path / 'm.py').rename(moved / 'm.py')
    (tmp_path / 'm.pth').rename(moved / 'm.pth')
    merged_cfg = Config.fromfile(moved / 'm.py')
    assert is_deploy_config(merged_cfg) and not is_deploy_config(cfg)
    assert not is_deploy_config(Config())
    merged = load_model(merged_cfg, str(moved / 'm.pth'))
    saved = torch.load(moved / 'm.pth', weights_only=True)
    assert merged.state_dict().keys() == saved['state_dict'].keys()
    assert not any(
        isinstance(m, nn.modules.batchnorm._BatchNorm)
        for m in merged.modules()
    )
    model = load_model(cfg, checkpoint)
    x = torch.randn(2, 3, 70, 50)
    for d in compare(outputs(model, x), outputs(merged, x)):
        assert d.relative < 1e-4
    assert merged.dataset_meta['classes'][1] == 'disc'


def test_config_with_classes_as_types(small_segmentor, tmp_path):
    """What is written names them, and so can be read."""
    config = tmp_path / 'classes.py'
    config.write_text(
        f"_base_ = '{small_segmentor[0]}'\n"
        'from mmcv.transforms import LoadImageFromFile\n'
        'from mmrep.models import RepLKNet\n'
        'model = dict(backbone=dict(type=RepLKNet))\n'
        'test_pipeline = [dict(type=LoadImageFromFile)]\n'
    )
    checkpoint = str(small_segmentor[1])
    out = f'{tmp_path}/m.pth'
    done = reparameterize(load_config(str(config)), checkpoint, out, INPUTS)
    assert done.norms[1] == 0


def test_merged_files_and_configs_are_refused(cfg, small_segmentor, tmp_path):
    reparameterize(cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS)
    with pytest.raises(UsageError, match='already merged'):
        reparameterize(
            cfg, f'{tmp_path}/m.pth', f'{tmp_path}/again.pth', INPUTS
        )
    with pytest.raises(UsageError, match='already in deploy form'):
        reparameterize(
            load_config(f'{tmp_path}/m.py'),
            f'{tmp_path}/m.pth',
            f'{tmp_path}/again.pth',
            INPUTS,
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ['m.pth', 'm.py']


def test_nothing_is_written_beyond_the_tolerance(
    cfg, small_segmentor, tmp_path
):
    with pytest.raises(UsageError, match='more than the tolerance'):
        reparameterize(
            cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS, 1e-12
        )
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_merge_is_found(cfg, small_segmentor, tmp_path, monkeypatch):
    def wrong(model):
        to_deploy_form(model)
        with torch.no_grad():
            model.auxiliary_head.convs[0].conv.bias += 0.1
        return model

    monkeypatch.setattr('mmrep.deploy.merge.to_deploy_form', wrong)
    with pytest.raises(UsageError, match='auxiliary_head of the random'):
        reparameterize(
            cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS
        )
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_replaced(cfg, small_segmentor, tmp_path):
    checkpoint = str(small_segmentor[1])
    with pytest.raises(UsageError, match='must not overwrite'):
        reparameterize(cfg, checkpoint, checkpoint, INPUTS)
    (tmp_path / 'm.py').write_text('print(1)')
    with pytest.raises(UsageError, match='is not the config of a deploy form'):
        reparameterize(cfg, checkpoint, f'{tmp_path}/m.pth', INPUTS)
    with pytest.raises(UsageError, match=r'must end in .pth'):
        reparameterize(cfg, checkpoint, f'{tmp_path}/m', INPUTS)


@pytest.mark.parametrize('name', ['m.pth', 'm.py'])
def test_folders_in_the_way(cfg, small_segmentor, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=f'{name}, .* must not be a folder'):
        reparameterize(
            cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS
        )
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_config_is_never_without_weights(
    cfg, small_segmentor, tmp_path, monkeypatch
):
    rename = os.replace

    def rename_but_weights(source, target):
        if target.suffix == '.pth':
            raise OSError(28, 'No space left on device')
        rename(source, target)

    monkeypatch.setattr(os, 'replace', rename_but_weights)
    with pytest.raises(UsageError, match='m.pth cannot be written'):
        reparameterize(
            cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS
        )
    assert list(tmp_path.iterdir()) == []


def test_deploy_config_forgets_what_training_started_from(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x')
    merged = deploy_config(cfg)
    assert merged.model.backbone.init_cfg is None
    assert cfg.model.backbone.init_cfg.checkpoint == 'x'
    assert merged.model.form_of == 'EncoderDecoder'


def test_mode_stays(cfg):
    from mmrep.deploy import build_model

    model = build_model(cfg)
    assert not to_deploy_form(model).training
    assert to_deploy_form(build_model(cfg).train()).training
    backbone = MMDetResNet(18)  # whose train() returns None
    assert to_deploy_form(backbone) is backbone


def test_compare_sees_what_is_not_finite():
    x = torch.ones(2)
    (same,) = compare(dict(a=x), dict(a=x))
    assert same.relative == 0
    (broken,) = compare(dict(a=x), dict(a=torch.tensor([1, float('nan')])))
    assert broken.relative == float('inf')
    with pytest.raises(ValueError, match='must be'):
        compare(dict(a=x), dict(b=x))


@pytest.fixture
def writes_into_config():
    """A segmentor that changes what it is built from, as DETR does."""

    class Writing(EncoderDecoder):
        def __init__(self, decode_head, **kwargs):
            assert 'seen' not in decode_head
            decode_head['seen'] = True
            super().__init__(
                decode_head={
                    k: v for k, v in decode_head.items() if k != 'seen'
                },
                **kwargs,
            )

    MODELS.register_module(name='Writing', module=Writing)
    yield 'mmrep.Writing'
    MODELS.module_dict.pop('Writing')


def test_a_model_that_writes_into_its_config(
    cfg, small_segmentor, tmp_path, writes_into_config
):
    cfg.model.type = writes_into_config
    done = reparameterize(
        cfg, str(small_segmentor[1]), f'{tmp_path}/m.pth', INPUTS
    )
    assert 'seen' not in done.config.read_text()
    build_model(cfg, meta=True)
    build_model(cfg, meta=True)


def test_cascade_of_heads(cfg, randomise, tmp_path):
    """Each head after the first takes what the one before it made."""
    head = dict(
        in_channels=[8, 12, 16, 20],
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=8,
        num_classes=7,
        norm_cfg=dict(type='BN'),
    )
    cfg.model.type = 'CascadeEncoderDecoder'
    cfg.model.num_stages = 2
    cfg.model.decode_head = [
        dict(head, type='FCNHead', num_convs=1, concat_input=False),
        dict(head, type='OCRHead', ocr_channels=8),
    ]
    model = randomise(build_model(cfg))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'in.pth')
    done = reparameterize(
        cfg, f'{tmp_path}/in.pth', f'{tmp_path}/m.pth', INPUTS
    )
    names = {d.name for d in done.differences['random']}
    assert {'decode_head.0', 'decode_head.1'} <= names


def test_heads_that_take_more_than_maps_are_left_out():
    class Queries(nn.Module):
        def forward(self, hidden_states, references):
            raise AssertionError

    model = nn.Module()
    model.extract_feat = lambda x: (x,)
    model.bbox_head = Queries()
    assert list(outputs(model, torch.ones(1, 3, 4, 4))) == ['features.0']


def test_what_the_model_does_not_know_is_named(cfg, small_segmentor, tmp_path):
    """Such as output norms that the config leaves out."""
    saved = torch.load(small_segmentor[1], weights_only=True)
    saved['state_dict']['backbone.stages.0.norm.weight'] = torch.ones(8)
    torch.save(saved, tmp_path / 'more.pth')
    warned = []
    with patch('mmrep.deploy.models.print_log', lambda *a: warned.append(a)):
        load_model(cfg, str(small_segmentor[1]))
        assert not warned
        load_model(cfg, f'{tmp_path}/more.pth')
    assert 'unknown to the model (backbone.stages.0.norm' in warned[0][0]
