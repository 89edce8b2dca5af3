"""UniRepLKNet's released files: ImageNet, downstream, deploy form."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from mmrep.checkpoint import check_fit
from mmrep.checkpoint.convert import convert
from mmrep.checkpoint.loading import CheckpointError
from mmrep.models import WBMM, UniRepLKNet

ARCH = dict(
    channels=(8, 12, 16, 20),
    depths=(1, 1, 2, 1),
    kernel_sizes=((3,), (13,), (9, 3), (7,)),
)


def segmentor(deploy=False):
    cfg = Config.fromfile('configs/upernet_unireplknet-tiny_shapes.py').model
    cfg.backbone.arch = ARCH
    cfg.backbone.deploy = deploy
    channels = list(ARCH['channels'])
    cfg.decode_head.in_channels = channels
    cfg.auxiliary_head.in_channels = channels[2]
    with DefaultScope.overwrite_default_scope('mmseg'):
        return revert_sync_batchnorm(MODELS.build(cfg))


def imagenet(backbone):
    """Without the output norms, and with the classifier."""
    state = {
        k: v
        for k, v in backbone.state_dict().items()
        if k.partition('.')[0] not in ('norm0', 'norm1', 'norm2', 'norm3')
    }
    state['norm.weight'] = torch.rand(20)
    state['norm.bias'] = torch.rand(20)
    state['head.weight'] = torch.rand(10, 20)
    state['head.bias'] = torch.rand(10)
    return state


def save(path, content):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(model=s)])
def test_imagenet_file(tmp_path, wrap):
    source = UniRepLKNet(ARCH)
    path = save(tmp_path / 'in1k.pth', wrap(imagenet(source)))
    model = UniRepLKNet(ARCH)
    found = convert(path, model).match
    assert not found.problems and found.layout == 'authors'
    assert not found.deploy
    (untrained,) = found.to_train.values()
    assert len(untrained) == 8, 'weight and bias of norm0 to norm3'
    (left_out,) = found.left_out.values()
    assert left_out == ['head.bias', 'head.weight', 'norm.bias', 'norm.weight']
    for name, value in found.state.items():
        assert torch.equal(value, source.state_dict()[name]), name
    assert len(found.state) + 8 == len(model.state_dict())


@pytest.mark.parametrize('deploy', [False, True])
def test_segmentor_with_optimizer_state(tmp_path, deploy):
    source = segmentor(deploy)
    state = source.state_dict()
    beside = {f'ema_{k.replace(".", "_")}': v + 1 for k, v in state.items()}
    path = save(
        tmp_path / 'upernet.pth',
        dict(
            meta=dict(CLASSES=('a', 'b'), PALETTE=[[0, 0, 0], [1, 1, 1]]),
            state_dict={**state, **beside},
            optimizer=dict(state={0: dict(exp_avg=torch.rand(3))}),
        ),
    )
    done = convert(path, segmentor())
    assert not done.match.problems and done.match.deploy is deploy
    done.write(str(tmp_path / 'out.pth'))
    written = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert set(written) == {'state_dict', 'meta'}
    assert written['meta']['dataset_meta']['classes'] == ('a', 'b')
    fresh = segmentor(deploy)
    fresh.load_state_dict(written['state_dict'])
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_backbone_starts_from_either(tmp_path):
    source = segmentor()
    for content in (
        imagenet(source.backbone),
        dict(state_dict=source.state_dict()),
    ):
        path = save(tmp_path / 'file.pth', content)
        model = UniRepLKNet(
            ARCH, init_cfg=dict(type='mmrep.Pretrained', checkpoint=path)
        )
        model.init_weights()
        state = source.backbone.state_dict()
        for name, value in model.state_dict().items():
            if not name.startswith('norm'):
                assert torch.equal(value, state[name]), name


def test_another_size_is_refused(tmp_path):
    path = save(tmp_path / 'in1k.pth', imagenet(UniRepLKNet(ARCH)))
    wider = UniRepLKNet({**ARCH, 'channels': (8, 12, 16, 24)})
    done = convert(path, wider)
    with pytest.raises(CheckpointError, match='have another shape'):
        done.write(str(tmp_path / 'out.pth'))


@pytest.mark.parametrize('deploy', [False, True])
def test_wbmm_file(tmp_path, deploy):
    """Tables and indices of the windows in place of large kernels."""
    kernels = (('W7',), (3,), ('W7', 3), ('W7',))
    arch = {**ARCH, 'kernel_sizes': kernels}
    source = WBMM(arch, deploy=deploy)
    path = save(tmp_path / 'in1k.pth', imagenet(source))
    model = WBMM(arch)
    found = convert(path, model).match
    assert not found.problems and found.deploy is deploy is model.deploy
    for name, value in found.state.items():
        assert torch.equal(value, source.state_dict()[name]), name


@pytest.mark.parametrize('name', ['R_fused', 'M_fused'])
def test_wbmm_file_in_the_authors_deploy_form(tmp_path, name):
    """They rename the table of each window, or expand it."""
    arch = {**ARCH, 'kernel_sizes': (('W7',), (3,), ('W7', 3), ('W7',))}
    model = WBMM(arch, deploy=True)
    state = {
        key.replace('relative_position_bias_table', name).replace(
            'dwconv.bias', 'dwconv.bias_fused'
        ): value
        for key, value in imagenet(model).items()
    }
    path = save(tmp_path / 'fused.pth', dict(model=state))
    text = f"authors' deploy form.*0.0.dwconv.{name}.*reparameterize.py.$"
    with pytest.raises(CheckpointError, match=text):
        convert(path, model)
    with pytest.raises(CheckpointError, match=text):
        check_fit(model, state)
