"""Test models as plain modules."""

import errno
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

import mmrep
from mmrep.apis.create import drop_weights
from mmrep.apis.folder import check_config
from mmrep.compat.configs import config_names
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.errors import UsageError


@pytest.fixture
def picture():
    return torch.randint(256, (3, 64, 96), dtype=torch.uint8)


def _steps(model, loss_of):
    """The loss before and after a few steps of a user's own loop."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_logits_are_those_of_mmsegmentation(segmentor_cfg, picture):
    plain = mmrep.create_model(segmentor_cfg).eval()
    bgr = picture.flip(0)
    with torch.no_grad():
        logits = plain(picture[None])
        sample = plain.model.test_step(dict(inputs=[bgr]))[0]
    assert logits.shape == (1, 7, 64, 96)
    torch.testing.assert_close(logits[0], sample.seg_logits.data)


def test_floats_are_of_0_to_1(segmentor_cfg, picture):
    plain = mmrep.create_model(segmentor_cfg).eval()
    with torch.no_grad():
        logits = plain(torch.stack([picture, picture]))
        same = plain(picture[None] / 255)
    torch.testing.assert_close(logits[:1], same, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('classes', ['road', ['a', 'a'], [1, 2]])
def test_classes_are_different_names(segmentor_cfg, classes):
    with pytest.raises(UsageError, match='different names in a list, got'):
        mmrep.create_model(segmentor_cfg, classes=classes)


@pytest.mark.parametrize('first', [False, True])
def test_floats_of_0_to_255_are_refused(segmentor_cfg, first):
    model = mmrep.create_model(segmentor_cfg).eval()
    if not first:
        model(torch.rand(1, 3, 32, 32))
    with pytest.raises(UsageError, match='0 to 1 .* got floats up to 255'):
        model(torch.full((1, 3, 32, 32), 255.0))


def test_network_that_takes_bgr(segmentor_cfg, picture):
    cfg = Config(segmentor_cfg.to_dict())
    cfg.model.data_preprocessor.bgr_to_rgb = False
    plain = mmrep.create_model(cfg).eval()
    with torch.no_grad():
        logits = plain(picture[None])
        sample = plain.model.test_step(dict(inputs=[picture.flip(0)]))[0]
    torch.testing.assert_close(logits[0], sample.seg_logits.data)


def test_segmentor_learns(segmentor_cfg, capsys):
    model = mmrep.create_model(segmentor_cfg, num_classes=4)
    assert not capsys.readouterr().out
    assert model.training
    images = torch.rand(2, 3, 64, 64)
    labels = (images[:, 0] > 0.5).long()
    first, last = _steps(
        model, lambda model: F.cross_entropy(model(images), labels)
    )
    assert last < first
    losses = model(images, labels)
    assert {'decode.loss_ce', 'aux.loss_ce'} == losses.keys()
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_detections_are_those_of_mmdetection(detector_cfg, picture):
    plain = mmrep.create_model(detector_cfg).eval()
    detectable(plain.model)
    with torch.no_grad():
        found = plain([picture])[0]
        sample = plain.model.test_step(
            dict(inputs=[picture.flip(0)], data_samples=[sample_of(picture)])
        )[0].pred_instances
    assert len(found['boxes'])
    torch.testing.assert_close(found['boxes'], sample.bboxes)
    torch.testing.assert_close(found['scores'], sample.scores)
    assert found['labels'].equal(sample.labels)
    assert ('masks' in found) == ('masks' in sample)
    if 'masks' in found:
        assert found['masks'].equal(sample.masks)


def detectable(model):
    """Let a model without training find something."""
    for name, parameter in model.named_parameters():
        if name.endswith(('conv_cls.bias', 'fc_cls.bias')):
            parameter.data = torch.randn_like(parameter)


def sample_of(picture):
    from mmdet.structures import DetDataSample

    shape = tuple(picture.shape[1:])
    return DetDataSample(
        metainfo=dict(
            img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)
        )
    )


@pytest.mark.slow
def test_detector_learns(detector_cfg):
    model = mmrep.create_model(detector_cfg, num_classes=4)
    images = [torch.rand(3, 64, 96), torch.rand(3, 80, 64)]
    targets = []
    for image in images:
        masks = torch.zeros(1, *image.shape[1:], dtype=torch.uint8)
        masks[0, 10:42, 8:40] = 1
        targets.append(
            dict(
                boxes=torch.tensor([[8.0, 10.0, 40.0, 42.0]]),
                labels=torch.tensor([3]),
                masks=masks,
            )
        )
    first, last = _steps(
        model, lambda model: sum(model(images, targets).values())
    )
    assert last < first
    # an image without objects
    targets[1] = dict(
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.long),
        masks=torch.zeros(0, 80, 64),
    )
    losses = model(images, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad():
        assert len(model.eval()(images)) == 2


@pytest.mark.parametrize(
    'arguments, number, classes',
    [
        (dict(), 7, 'config'),
        (dict(num_classes=3), 3, None),
        (dict(classes=['a', 'b']), 2, ('a', 'b')),
    ],
)
def test_classes(segmentor_cfg, arguments, number, classes):
    model = mmrep.create_model(segmentor_cfg, **arguments)
    assert model.model.decode_head.num_classes == number
    assert model.model.auxiliary_head.conv_seg.out_channels == number
    if classes == 'config':
        assert len(model.classes) == 7
    else:
        assert model.classes == classes
    assert segmentor_cfg.model.decode_head.num_classes == 7


def test_classes_of_a_detector(detector_cfg):
    model = mmrep.create_model(detector_cfg, num_classes=3).model
    assert model.cfg.model.get('rpn_head', {}).get('num_classes', 1) in (1, 3)
    heads = [model.bbox_head] if hasattr(model, 'bbox_head') else [
        *model.roi_head.bbox_head, *model.roi_head.mask_head
    ]  # fmt: skip
    assert {head.num_classes for head in heads} == {3}


def test_starts_from_a_checkpoint_of_other_classes(segmentor_cfg, tmp_path):
    old = build_model(segmentor_cfg)
    path = tmp_path / 'old.pth'
    torch.save(dict(state_dict=old.state_dict()), path)
    new = mmrep.create_model(segmentor_cfg, 4, str(path)).model
    assert new.decode_head.conv_seg.out_channels == 4
    for name, value in old.backbone.state_dict().items():
        assert value.equal(new.backbone.state_dict()[name]), name
    same = mmrep.create_model(segmentor_cfg, pretrained=str(path)).model
    assert same.decode_head.conv_seg.weight.equal(
        old.decode_head.conv_seg.weight
    )


def test_starts_from_a_backbone(segmentor_cfg, tmp_path):
    backbone = build_model(segmentor_cfg).backbone
    path = tmp_path / 'backbone.pth'
    torch.save(backbone.state_dict(), path)
    new = mmrep.create_model(segmentor_cfg, pretrained=str(path)).model
    for name, value in backbone.state_dict().items():
        assert value.equal(new.backbone.state_dict()[name]), name


@pytest.mark.parametrize(
    'arguments, line',
    [
        (dict(num_classes=0), 'num_classes must be 1 or more'),
        (dict(num_classes=3, classes=['a']), 'as many as classes'),
        (dict(num_classes='3'), "1 or more, .* got '3'"),
        (dict(num_classes=2.0), '1 or more, .* got 2.0'),
        (dict(num_classes=True), '1 or more, .* got True'),
        (dict(classes=[]), '1 or more, .* got 0'),
        (dict(classes=4), 'different names in a list, got 4'),
        (dict(pretrained='absent.pth'), 'must be an existing file'),
        (dict(pretrained=''), "pretrained must be a path, got ''"),
        (dict(pretrained=4), 'pretrained must be a path, got 4'),
    ],
)
def test_wrong_arguments(segmentor_cfg, arguments, line):
    with pytest.raises(UsageError, match=line):
        mmrep.create_model(segmentor_cfg, **arguments)


@pytest.mark.parametrize('config', [None, 4, '', ['a']])
def test_configs_that_are_none(config):
    with pytest.raises(UsageError, match='config must be a path, got'):
        mmrep.create_model(config)
    with pytest.raises(UsageError, match='model must be a path, got'):
        mmrep.from_pretrained(config)


def test_nothing_is_warned_of(segmentor_cfg):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mmrep.create_model(segmentor_cfg)


def test_classifiers_are_refused(tiny_arch):
    cfg = Config(dict(model=dict(type='mmrep.RepLKNet', arch='31B')))
    cfg.model.arch = tiny_arch
    with pytest.raises(UsageError, match='must be a segmentor or a detector'):
        mmrep.create_model(cfg)


@pytest.mark.parametrize('batch', [1, 2])
def test_labels_that_are_no_class(segmentor_cfg, batch):
    model = mmrep.create_model(segmentor_cfg, num_classes=3)
    images = torch.rand(2, 3, 64, 64)
    labels = torch.randint(3, (2, 64, 64))
    labels[0, 0, :9] = 255
    if batch == 2:
        model(images, labels)
    labels[1, 5, 5] = 3
    with pytest.raises(UsageError, match='0 to 2, or 255 .* ignore, got 3'):
        model(images, labels)


@pytest.fixture
def saved(segmentor_cfg, tmp_path):
    pytest.importorskip('safetensors', reason='safetensors is not installed')
    model = mmrep.create_model(segmentor_cfg, classes=list('abcd')).eval()
    model.save_pretrained(tmp_path / 'model')
    return model, tmp_path / 'model'


def test_folder(saved, picture):
    model, folder = saved
    assert {path.name for path in folder.iterdir()} == {
        'README.md', 'config.json', 'model.safetensors'
    }  # fmt: skip
    assert 'a, b, c, d' in (folder / 'README.md').read_text()
    loaded = mmrep.from_pretrained(folder)
    assert loaded.classes == ('a', 'b', 'c', 'd') and not loaded.training
    assert loaded.cfg.to_dict() == model.cfg.to_dict()
    with torch.no_grad():
        assert loaded(picture[None]).equal(model(picture[None]))
    # again over it, from what was loaded
    loaded.save_pretrained(folder)
    mmrep.from_pretrained(folder)


def test_folder_of_a_detector(detector_cfg, picture, tmp_path):
    pytest.importorskip('safetensors', reason='safetensors is not installed')
    model = mmrep.create_model(detector_cfg).eval()
    detectable(model.model)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        found = model([picture])[0]
        again = mmrep.from_pretrained(tmp_path)([picture])[0]
    assert len(found['boxes']) and found['boxes'].equal(again['boxes'])


def test_folders_that_cannot_be_written(saved, tmp_path):
    model, folder = saved
    for wrong in ('', None, 4):
        with pytest.raises(UsageError, match='must be a path, got'):
            model.save_pretrained(wrong)
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(UsageError, match='must be a folder, but is a file'):
        model.save_pretrained(tmp_path / 'file')
    with pytest.raises(UsageError, match='cannot be written: Not a dir'):
        model.save_pretrained(tmp_path / 'file/model')
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'model'}


@pytest.mark.parametrize('part', ['save_model', 'write_text'])
def test_folders_are_whole_or_as_before(saved, tmp_path, monkeypatch, part):
    """On a full disk."""
    model, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **_):
        if part == 'save_model':
            Path(args[1]).write_bytes(b'the first bytes')
            raise SafetensorError('I/O error: No space left on device')
        raise OSError(errno.ENOSPC, 'No space left on device')

    from safetensors import SafetensorError

    owner = 'safetensors.torch' if part == 'save_model' else 'pathlib.Path'
    monkeypatch.setattr(f'{owner}.{part}', full)
    for place in (folder, tmp_path / 'new'):
        with pytest.raises(UsageError, match='cannot be written: .*No space'):
            model.save_pretrained(place)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before and not (tmp_path / 'new').exists()


def edit(folder, change):
    path = folder / 'config.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    'part, line',
    [
        (dict(type='subprocess.Popen', args='touch ran'), 'registered class'),
        (dict(type='mmengine.load', file='x'), 'registered class'),
        (dict(type='os.system', command='touch ran'), 'registered class'),
        (dict(type='open("ran", "w")'), 'registered class'),
        (dict(type='UPerHead', teacher_config='evil.py'), 'not name a file'),
        (dict(type='UPerHead', mode='open("ran", "w")'), 'not name a file'),
        (dict(type='UPerHead', pretrained='/tmp/x'), 'not name a file'),
        (dict(type='UPerHead', base='mmrep::x'), 'not name a file'),
    ],
)
def test_folder_that_would_run_code(saved, part, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, folder = saved
    edit(folder, lambda c: c['config']['model'].update(decode_head=part))
    with pytest.raises(UsageError, match=line):
        mmrep.from_pretrained(folder)
    assert not (tmp_path / 'ran').exists()


def test_imports_of_a_folder_are_not_done(saved, tmp_path, monkeypatch):
    (tmp_path / 'evil_module.py').write_text('raise SystemExit(3)')
    monkeypatch.syspath_prepend(tmp_path)
    _, folder = saved
    edit(
        folder,
        lambda c: c['config'].update(
            custom_imports=dict(imports=['evil_module'])
        ),
    )
    mmrep.from_pretrained(folder)
    assert 'evil_module' not in sys.modules


def test_folders_that_are_wrong(saved, tmp_path):
    _, folder = saved
    with pytest.raises(UsageError, match='must have config.json'):
        mmrep.from_pretrained(tmp_path)
    edit(
        folder,
        lambda c: c['config']['model']['decode_head'].update(channels=8),
    )
    with pytest.raises(UsageError, match='cannot be loaded'):
        mmrep.from_pretrained(folder)
    (folder / 'model.safetensors').write_bytes(b'no')
    with pytest.raises(UsageError, match='cannot be loaded'):
        mmrep.from_pretrained(folder)
    (folder / 'config.json').write_text('{}')
    with pytest.raises(UsageError, match='is not what save_pretrained'):
        mmrep.from_pretrained(folder)
    for content in (
        '{"config": [], "classes": []}',
        '[]',
        '4',
        '{"config": {}, "classes": 4}',
    ):
        (folder / 'config.json').write_text(content)
        with pytest.raises(UsageError, match='is not what save_pretrained'):
            mmrep.from_pretrained(folder)
    (folder / 'config.json').write_text('[')
    with pytest.raises(UsageError, match='is not what save_pretrained'):
        mmrep.from_pretrained(folder)


@pytest.mark.slow
@pytest.mark.parametrize('name', config_names())
def test_our_configs_can_be_shared(name):
    if '_convnext' in name:
        pytest.importorskip('mmpretrain')
    cfg = load_config(name)
    drop_weights(cfg.model)
    check_config(cfg.model.to_dict())


def test_model_that_cannot_be_shared():
    with pytest.raises(UsageError, match='model.x must be plain data'):
        check_config(dict(x=np.zeros(3)))
