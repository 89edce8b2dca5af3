"""Released layouts against our models: every key accounted for."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import KERNELS, TINY, fill, replknet_shapes
from torch import nn

from mmrep.checkpoint import (
    CheckpointError,
    convert,
    fit_pretrained,
    load_checkpoint,
    match,
    recognise,
    weights_of,
)
from mmrep.models import RepLKNet

ARCH = dict(
    channels=TINY['channels'], depths=TINY['depths'], kernel_sizes=KERNELS
)
PUBLISHED = {
    '31B': dict(channels=(128, 256, 512, 1024), kernels=(31, 29, 27, 13)),
    '31L': dict(channels=(192, 384, 768, 1536), kernels=(31, 29, 27, 13)),
    'XL': dict(
        channels=(256, 512, 1024, 2048),
        kernels=(27, 27, 27, 13),
        small=None,
        dw_ratio=1.5,
    ),
}


class Segmentor(nn.Module):
    """A backbone and a head under their usual names."""

    def __init__(self, **backbone):
        super().__init__()
        self.backbone = RepLKNet(ARCH, **backbone)
        self.decode_head = nn.Module()
        self.decode_head.conv_seg = nn.Conv2d(20, 3, 1)


def below(state, prefix='backbone.'):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('arch', PUBLISHED)
def test_names_and_shapes_of_the_published_archs(arch, deploy):
    """Nothing but the classifier is left over, and nothing is missing."""
    norms = arch == 'XL'
    shapes = replknet_shapes(
        depths=(2, 2, 18, 2),
        deploy=deploy,
        output_norms=norms,
        **PUBLISHED[arch],
    )
    with torch.device('meta'):
        model = RepLKNet(arch, deploy=deploy, norm_intermediate_features=norms)
    found = {key: tuple(v.shape) for key, v in model.state_dict().items()}
    assert found == shapes


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: s,
        lambda s: dict(model=s, epoch=3, optimizer=dict(state={})),
        lambda s: dict(state_dict=s),
        lambda s: dict(model=dict(state_dict=s)),
        lambda s: dict(state_dict=below(s, 'module.')),
        lambda s: dict(model_ema=s),
        lambda s: dict(
            state_dict_ema={
                'n_averaged': torch.tensor(3),
                **below(s, 'module.'),
            }
        ),
        lambda s: dict(state_dict=below(s, 'ema_model.')),
    ],
)
def test_wrappers(authors_state, wrap):
    found = weights_of(wrap(authors_state))
    assert found.keys() == authors_state.keys()
    result = match(recognise(found), RepLKNet(ARCH))
    assert result.layout == 'authors' and not result.problems
    assert len(result.left_out['the ImageNet classifier']) == 7


def test_average_beside_the_weights(authors_state):
    average = {k: v + 1 for k, v in authors_state.items()}
    both = dict(model=authors_state, model_ema=average)
    key = 'stem.0.conv.weight'
    assert torch.equal(weights_of(both)[key], authors_state[key])
    assert torch.equal(weights_of(both, ema=True)[key], average[key])
    with pytest.raises(CheckpointError, match='averaged weights'):
        weights_of(dict(model=authors_state), ema=True)


def test_copies_of_the_ema_hook(authors_state):
    """MMCV 0.x keeps what it averaged as buffers beside the average."""
    copies = {
        f'ema_{key.replace(".", "_")}': torch.zeros_like(value)
        for key, value in authors_state.items()
    }
    found = weights_of(dict(state_dict={**authors_state, **copies}))
    assert found.keys() == authors_state.keys()


@pytest.mark.parametrize('norms', [False, True])
@pytest.mark.parametrize('layout', ['authors', 'MMPretrain', 'cut out'])
def test_imagenet_files(authors_state, mmpretrain_state, layout, norms):
    """The classifier's norm never becomes an output norm."""
    state = dict(
        {
            'authors': authors_state,
            'MMPretrain': mmpretrain_state,
            'cut out': {
                k[9:]: v
                for k, v in mmpretrain_state.items()
                if k.startswith('backbone.')
            },
        }[layout]
    )
    model = RepLKNet(ARCH, norm_intermediate_features=norms)
    result = match(recognise(weights_of(dict(state_dict=state))), model)
    assert not result.problems
    assert not any('.norm.' in key for key in result.state)
    for key, value in result.state.items():
        assert torch.equal(value, authors_state[key])
    trained = result.to_train.get('output norms, trained from scratch', [])
    # weight, bias and two statistics of four norms
    assert len(trained) == (16 if norms else 0)


def test_classifier(authors_state, mmpretrain_state):
    """Both layouts give the names of MMPretrain's ImageClassifier."""
    model = nn.Module()
    model.backbone = RepLKNet(
        ARCH, out_indices=(3,), norm_intermediate_features=True
    )
    model.head = nn.Module()
    model.head.fc = nn.Linear(20, 10)
    for state in (authors_state, mmpretrain_state):
        result = match(recognise(state), model)
        assert not (result.problems or result.left_out or result.to_train)
        for key, value in mmpretrain_state.items():
            assert torch.equal(result.state[key], value)


@pytest.mark.parametrize('norms', [False, True])
def test_downstream(norms):
    state = below(fill(replknet_shapes(**TINY, output_norms=norms)))
    head = {
        'decode_head.conv_seg.weight': torch.rand(3, 20, 1, 1),
        'decode_head.conv_seg.bias': torch.rand(3),
    }
    state |= head
    model = Segmentor(norm_intermediate_features=norms)
    result = match(recognise(state), model)
    assert result.layout == 'segmentor or detector' and result.has_heads
    assert not (result.problems or result.left_out or result.to_train)
    model.load_state_dict(result.state)
    # output norms are what tells XL downstream from the others
    wrong = match(
        recognise(state), Segmentor(norm_intermediate_features=not norms)
    )
    assert bool(wrong.missing) is not norms
    assert bool(wrong.unexpected) is norms
    # the backbone of it
    alone = match(
        recognise(state), RepLKNet(ARCH, norm_intermediate_features=norms)
    )
    assert not alone.problems
    assert alone.left_out['not part of the backbone'] == sorted(head)


def test_backbone_file_for_a_segmentor(authors_state):
    result = match(recognise(authors_state), Segmentor())
    assert not result.problems and 'backbone.stem.0.conv.weight' in (
        result.state
    )
    assert result.to_train['neck and heads, trained from scratch'] == [
        'decode_head.conv_seg.bias',
        'decode_head.conv_seg.weight',
    ]


def test_fewer_stages(authors_state):
    result = match(
        recognise(authors_state), RepLKNet(ARCH, out_indices=(0, 1))
    )
    assert not result.problems
    left = result.left_out['stages that the backbone does not build']
    assert {key[: len('stages.2')] for key in left} == {
        'stages.2', 'stages.3', 'transiti',
    }  # fmt: skip
    assert 'transitions.0.0.conv.weight' in result.state
    assert 'transitions.1.0.conv.weight' in left


@pytest.mark.parametrize(
    'change, kind, text',
    [
        (lambda s: s.pop('stem.1.bn.bias'), 'missing', 'stem.1.bn.bias'),
        (
            lambda s: s.update({'stem.9.conv.weight': torch.rand(1)}),
            'unexpected',
            'stem.9.conv.weight',
        ),
        (
            lambda s: s.update({'stem.1.bn.bias': torch.rand(9)}),
            'mismatched',
            'stem.1.bn.bias: (9,) instead of (8,)',
        ),
        # the norm of a stage is not the classifier's
        (
            lambda s: s.update({'stages.1.norm.weight': torch.rand(12)}),
            'unexpected',
            'stages.1.norm.weight',
        ),
    ],
)
def test_unexplained_keys(authors_state, tmp_path, change, kind, text):
    change(authors_state)
    torch.save(authors_state, tmp_path / 'a.pth')
    conversion = convert(str(tmp_path / 'a.pth'), RepLKNet(ARCH))
    assert getattr(conversion.match, kind) == [text]
    assert f'{kind}: 1 ({text})' in conversion.match.report()
    with pytest.raises(CheckpointError, match=re.escape(text)):
        conversion.write(str(tmp_path / 'b.pth'))
    with pytest.raises(CheckpointError, match=re.escape(text)):
        fit_pretrained(RepLKNet(ARCH), str(tmp_path / 'a.pth'))
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_check_of_a_file_leaves_its_tensors_there(tmp_path):
    """The file is read once, when the weights are loaded."""
    arch = dict(ARCH, channels=(32, 64, 128, 512))
    backbone = RepLKNet(arch)
    path = tmp_path / 'a.pth'
    torch.save(backbone.state_dict(), path)

    def read_so_far():
        io = Path('/proc/self/io').read_text()
        return int(re.search(r'rchar: (\d+)', io).group(1))

    before = read_so_far()
    result = fit_pretrained(backbone, str(path))
    assert read_so_far() - before < path.stat().st_size / 4
    for key, value in backbone.state_dict().items():
        assert torch.equal(result.state[key], value)


def test_forms_are_not_mixed(authors_state):
    released = recognise(authors_state)
    with pytest.raises(CheckpointError, match='backbone.deploy=False'):
        match(released, RepLKNet(ARCH, deploy=True))
    merged = fill(replknet_shapes(**TINY, deploy=True))
    with pytest.raises(CheckpointError, match='backbone.deploy=True'):
        match(recognise(merged), RepLKNet(ARCH))


def test_unknown_layout():
    with pytest.raises(CheckpointError, match='is not known'):
        recognise({'layer1.0.conv1.weight': torch.rand(1)})
    with pytest.raises(CheckpointError, match='no named tensors'):
        weights_of(dict(state_dict=dict(a=3)))


def merged_by_hand(state):
    """The deploy layout of a training-form file, by the paper's rules."""
    merged = {}
    for key, value in state.items():
        name, mark, rest = key.partition('lkb_origin.conv.weight')
        if mark:
            merged |= merge(state, name)
        elif '.large_kernel.' not in key:
            merged[key] = value
    return merged


def merge(state, name):
    total = dict(weight=0, bias=0)
    for branch in ('lkb_origin', 'small_conv'):
        s = {
            k: state[f'{name}{branch}.{k}'].double()
            for k in ('conv.weight', 'bn.weight', 'bn.bias')
            + ('bn.running_mean', 'bn.running_var')
        }
        scale = s['bn.weight'] / torch.sqrt(s['bn.running_var'] + 1e-5)
        kernel = s['conv.weight'] * scale[:, None, None, None]
        if branch == 'lkb_origin':
            size = kernel.shape[-1]
        pad = (size - kernel.shape[-1]) // 2
        total['weight'] += F.pad(kernel, [pad] * 4)
        total['bias'] += s['bn.bias'] - s['bn.running_mean'] * scale
    return {f'{name}lkb_reparam.{k}': v.float() for k, v in total.items()}


@pytest.mark.parametrize('norms', [False, True])
def test_round_trip_through_file_and_merge(tmp_path, norms):
    """Converted, loaded, merged: the outputs stay the same."""
    state = fill(replknet_shapes(**TINY, output_norms=norms))
    options = dict(norm_intermediate_features=norms)
    x = torch.randn(2, 3, 64, 96)
    outputs = []
    for i, source in enumerate((state, merged_by_hand(state))):
        torch.save(dict(state_dict=source, optimizer=[1]), tmp_path / 'a.pth')
        model = RepLKNet(ARCH, **options)
        conversion = convert(str(tmp_path / 'a.pth'), model)
        assert conversion.match.deploy is bool(i)
        conversion.write(str(tmp_path / 'b.pth'))
        written = load_checkpoint(str(tmp_path / 'b.pth'))
        assert written.keys() == {'state_dict', 'meta'}
        fresh = RepLKNet(ARCH, deploy=bool(i), **options).eval()
        fresh.load_state_dict(written['state_dict'])
        with torch.no_grad():
            outputs.append(fresh(x))
            fresh.switch_to_deploy()
            outputs.append(fresh(x))
    for other in outputs[1:]:
        for a, b in zip(outputs[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_what_is_written(authors_state, tmp_path):
    import hashlib

    source = tmp_path / 'a.pth'
    torch.save(
        dict(
            model=authors_state,
            optimizer=dict(state={}),
            meta=dict(CLASSES=['a', 'b'], PALETTE=[[1, 2, 3], [4, 5, 6]]),
        ),
        source,
    )
    convert(str(source), RepLKNet(ARCH)).write(str(tmp_path / 'sub/b.pth'))
    # nothing beyond tensors and plain types: torch's strictest loader
    written = torch.load(tmp_path / 'sub/b.pth', weights_only=True)
    assert written['meta'] == dict(
        source=dict(
            name='a.pth',
            sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            layout='authors',
            form='training',
        ),
        dataset_meta=dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)]),
    )
    assert len(list((tmp_path / 'sub').iterdir())) == 1


def test_name_with_a_checksum(authors_state, tmp_path):
    path = tmp_path / 'replknet_20221118-00000000.pth'
    torch.save(authors_state, path)
    with pytest.raises(CheckpointError, match='must begin with 00000000'):
        convert(str(path), RepLKNet(ARCH))


class TestInitCfg:
    @pytest.mark.parametrize(
        'layout, prefix',
        [('authors', None), ('mmpretrain', None), ('mmpretrain', 'backbone.')],
    )
    def test_released_files(
        self, authors_state, mmpretrain_state, tmp_path, layout, prefix
    ):
        state = dict(authors=authors_state, mmpretrain=mmpretrain_state)
        path = str(tmp_path / 'a.pth')
        torch.save(state[layout], path)
        model = RepLKNet(
            ARCH,
            norm_intermediate_features=True,
            init_cfg=dict(type='Pretrained', checkpoint=path, prefix=prefix),
        )
        model.init_weights()
        loaded = model.state_dict()
        for key, value in authors_state.items():
            if key.split('.')[0] not in ('norm', 'head'):
                assert torch.equal(loaded[key], value), key
        assert torch.equal(loaded['stages.3.norm.weight'], torch.ones(20))

    @pytest.mark.parametrize(
        'state, prefix, text',
        [
            (None, None, 'do not exist; docs/model_zoo.md#weights'),
            ({'a': torch.rand(1)}, None, 'is not known'),
            ({'a': torch.rand(1)}, 'backbone.', "under the prefix 'backbone"),
            (replknet_shapes(**{**TINY, 'channels': (8, 12, 16, 24)}), None,
             'does not fit the backbone'),
        ],
    )  # fmt: skip
    def test_wrong_files(self, tmp_path, state, prefix, text):
        path = tmp_path / 'a.pth'
        if state:
            if isinstance(next(iter(state.values())), tuple):
                state = fill(state)
            torch.save(state, path)
        init = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
        with pytest.raises(CheckpointError, match=text) as error:
            RepLKNet(ARCH, init_cfg=init).init_weights()
        assert '\n' not in str(error.value) and 'a.pth' in str(error.value)

    def test_other_initializers_are_mmengines(self):
        model = RepLKNet(
            ARCH, init_cfg=dict(type='Constant', layer='Conv2d', val=2.0)
        )
        model.init_weights()
        assert (model.stem[0].conv.weight == 2).all()
