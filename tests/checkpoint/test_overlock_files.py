"""OverLoCK's released files: ImageNet, downstream, deploy form."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from sweep import sweep

from mmrep.checkpoint.convert import convert
from mmrep.checkpoint.loading import CheckpointError
from mmrep.models import OverLoCK

ARCH = dict(
    channels=(8, 12, 16, 32),
    depths=(1, 1, 1, 1),
    kernel_sizes=(9, 7, 7, 5),
    focus_depths=(2, 1),
    focus_heads=(2, 4),
)


def segmentor(deploy=False):
    cfg = Config.fromfile('configs/upernet_overlock-tiny_camvid.py').model
    cfg.backbone.update(arch=ARCH, deploy=deploy)
    cfg.decode_head.update(in_channels=[8, 12, 24, 40], channels=16)
    cfg.auxiliary_head.update(in_channels=24, channels=16)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return revert_sync_batchnorm(MODELS.build(cfg))


def imagenet(backbone):
    """Without the output norms, and with both classifiers."""
    state = {
        k: v
        for k, v in backbone.state_dict().items()
        if not k.startswith(('extra_norm', 'h_proj'))
    }
    for name, shape in (
        ('aux_head.0.weight', (32,)),
        ('aux_head.2.weight', (10, 32, 1, 1)),
        ('head.0.weight', (64, 40, 1, 1)),
        ('head.1.running_mean', (64,)),
        ('head.4.bias', (10,)),
    ):
        state[name] = torch.rand(shape)
    return state


def save(path, content):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize('overview', [False, True])
@pytest.mark.parametrize('deploy', sweep([False, True]))
def test_imagenet_file(tmp_path, overview, deploy):
    source = OverLoCK(ARCH, deploy=deploy)
    path = save(tmp_path / 'in1k.pth', imagenet(source))
    model = OverLoCK(ARCH, overview_output=overview)
    found = convert(path, model).match
    assert not found.problems and found.layout == 'authors'
    assert found.deploy is deploy is model.deploy
    (untrained,) = found.to_train.values()
    assert len(untrained) == (14 if overview else 8)
    (left_out,) = found.left_out.values()
    assert len(left_out) == 5, 'the classifiers'
    for name, value in found.state.items():
        assert torch.equal(value, source.state_dict()[name]), name
    assert len(found.state) + len(untrained) == len(model.state_dict())


@pytest.mark.parametrize('indices, parts', [((0,), 10), ((1,), 8), ((2,), 2)])
def test_parts_that_are_not_built(tmp_path, indices, parts):
    path = save(tmp_path / 'in1k.pth', imagenet(OverLoCK(ARCH)))
    found = convert(path, OverLoCK(ARCH, out_indices=indices)).match
    assert not found.problems
    unbuilt = found.left_out['stages that the backbone does not build']
    assert len({key.split('.')[0] for key in unbuilt}) == parts


@pytest.mark.parametrize('deploy', [False, True])
def test_segmentor(tmp_path, deploy):
    source = segmentor(deploy)
    state = source.state_dict()
    path = save(tmp_path / 'upernet.pth', dict(state_dict=state))
    done = convert(path, segmentor())
    assert not done.match.problems and done.match.deploy is deploy
    done.write(str(tmp_path / 'out.pth'))
    written = torch.load(tmp_path / 'out.pth', weights_only=True)
    fresh = segmentor(deploy)
    fresh.load_state_dict(written['state_dict'])
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_backbone_starts_from_either(tmp_path):
    source = segmentor()
    state = source.backbone.state_dict()
    for content in (imagenet(source.backbone), source.state_dict()):
        path = save(tmp_path / 'file.pth', content)
        model = OverLoCK(
            ARCH, init_cfg=dict(type='mmrep.Pretrained', checkpoint=path)
        )
        model.init_weights()
        for name, value in model.state_dict().items():
            if not name.startswith('extra_norm'):
                assert torch.equal(value, state[name]), name


def test_another_size_is_refused(tmp_path):
    path = save(tmp_path / 'in1k.pth', imagenet(OverLoCK(ARCH)))
    wider = OverLoCK({**ARCH, 'channels': (8, 12, 16, 64)})
    with pytest.raises(CheckpointError, match='have another shape'):
        convert(path, wider).write(str(tmp_path / 'out.pth'))
