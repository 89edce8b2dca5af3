import os
import pickle
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from mmengine.runner import load_checkpoint as read_model
from torch import nn

from mmrep.analysis import load_backbone
from mmrep.checkpoint import (
    CheckpointError,
    check_file,
    get_state_dict,
    load_checkpoint,
    register_loaders,
    safe_loaders,
)
from mmrep.deploy import build_model, load_model
from mmrep.errors import UsageError


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def crafted(tmp_path):
    """A checkpoint that runs code, and what the code would create."""
    trap = tmp_path / 'trap'
    path = tmp_path / 'crafted.pth'
    torch.save(dict(state_dict={}, extra=Payload(trap)), path)
    return path, trap


@pytest.fixture
def loaders(monkeypatch):
    """register_loaders, undone after the test."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    # users set it for MMEngine; torch refuses to load with both
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.setattr(
        CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes)
    )
    return register_loaders


@MODELS.register_module()
class ReadsWhileBuilt(BaseModel):
    """As MMDetection's distillation models do, by MMEngine and by torch."""

    def __init__(self, teacher_ckpt, **kwargs):
        super().__init__()
        self.backbone = nn.Identity()
        read_model(self, teacher_ckpt)
        torch.load(teacher_ckpt, weights_only=False)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


@pytest.mark.parametrize(
    'build',
    [
        build_model,
        lambda cfg: build_model(cfg, meta=True),
        load_backbone,
        lambda cfg: load_model(cfg, cfg.model.teacher_ckpt + '.safe'),
    ],
)
def test_second_checkpoint_of_a_model(crafted, build):
    path, trap = crafted
    torch.save(dict(state_dict={}), f'{path}.safe')
    before = dict(CheckpointLoader._schemes), dict(os.environ)
    cfg = Config(dict(model=dict(type='ReadsWhileBuilt')))
    cfg.model.teacher_ckpt = str(path)
    with pytest.raises(UsageError, match='was refused.*mkdir'):
        build(cfg)
    assert not trap.exists()
    # what the rest of the process does is its own affair
    assert (dict(CheckpointLoader._schemes), dict(os.environ)) == before


def test_second_checkpoint_of_a_trusted_model(crafted):
    path, trap = crafted
    cfg = Config(dict(model=dict(type='ReadsWhileBuilt')))
    cfg.model.teacher_ckpt = str(path)
    # the code of the file makes a folder, and cannot do so a second time
    with safe_loaders(True), pytest.raises(UsageError, match='File exists'):
        build_model(cfg)
    assert trap.exists()


def test_what_mmengine_writes(tmp_path):
    hub = MessageHub.get_instance('test_what_mmengine_writes')
    hub.update_scalar('train/loss', 1.5)
    hub.update_info('iter', 3)
    path = tmp_path / 'iter_3.pth'
    weight = torch.rand(3)
    optimizer = torch.optim.AdamW([weight])
    torch.save(
        dict(
            state_dict=dict(weight=weight),
            optimizer=optimizer.state_dict(),
            message_hub=hub.state_dict(),
            meta=dict(iter=3, dataset_meta=dict(classes=('a', 'b'))),
        ),
        path,
    )
    checkpoint = load_checkpoint(path)
    torch.testing.assert_close(checkpoint['state_dict']['weight'], weight)
    loss = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(loss, HistoryBuffer) and loss.mean() == 1.5


def test_code_is_not_run(crafted):
    path, trap = crafted
    with pytest.raises(CheckpointError, match='mkdir.*--trust-checkpoint'):
        load_checkpoint(path)
    assert not trap.exists()
    load_checkpoint(path, trust=True)
    assert trap.exists(), 'the test must use a file that does run code'


def test_getattr_reaches_nothing_else(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, 'register_statistics')

    path = tmp_path / 'reach.pth'
    torch.save(dict(x=Reach()), path)
    with pytest.raises(CheckpointError, match='refused'):
        load_checkpoint(path)


def test_enforced_for_mmengine_and_torch(crafted, loaders):
    path, trap = crafted
    loaders()
    with pytest.raises(CheckpointError, match='--trust-checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert not trap.exists()


def test_trusted_by_mmengine(crafted, loaders):
    path, trap = crafted
    loaders(trust=True)
    CheckpointLoader.load_checkpoint(str(path))
    assert trap.exists()


def test_unreachable_url(loaders):
    loaders()
    with pytest.raises(CheckpointError, match='127.0.0.1.*downloaded'):
        CheckpointLoader.load_checkpoint('http://127.0.0.1:9/weights.pth')


CODE = 'raise SystemExit'  # what MMEngine would execute on resume


def test_config_text_is_dropped(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={}, meta=dict(config=CODE, iter=3)), path)
    assert load_checkpoint(path)['meta'] == dict(iter=3)


def test_shadowed_methods(tmp_path):
    """A pickle can set attributes of an OrderedDict, such as its methods."""
    path = tmp_path / 'weights.pth'
    meta = OrderedDict(config=CODE, iter=3)
    meta.pop = set
    checkpoint = OrderedDict(state_dict={}, meta=meta)
    checkpoint.get = set
    torch.save(checkpoint, path)
    loaded = load_checkpoint(path)
    assert type(loaded) is type(loaded['meta']) is dict
    assert loaded['meta'] == dict(iter=3)


def test_meta_must_be_a_dict(tmp_path):
    """A structured scalar can be indexed like one."""
    path = tmp_path / 'weights.pth'
    meta = np.array((3, CODE), dtype=[('iter', 'i8'), ('config', 'U20')])[()]
    torch.save(dict(state_dict={}, meta=meta), path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match='dict under "meta"'):
        load_checkpoint(path, trust=True)


def to_tar(path):
    with tarfile.open(path, 'w') as file:
        file.add(__file__, 'hello.py')


@pytest.mark.parametrize(
    'path, text', [('x' * 300, 'name too long'), ('/proc/self/mem', 'Input/')]
)
def test_files_that_the_system_does_not_read(path, text):
    with pytest.raises(CheckpointError, match=f'cannot be read: .*{text}'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    'module, text', [('gone', "No module named 'gone'"), ('os', 'Thing')]
)
def test_trusted_file_whose_class_is_gone(tmp_path, monkeypatch, module, text):
    Thing = type('Thing', (), dict(__module__=module))
    path = tmp_path / 'weights.pth'
    with monkeypatch.context() as patch:
        home = os if module == 'os' else types.ModuleType(module)
        patch.setattr(home, 'Thing', Thing, raising=False)
        patch.setitem(sys.modules, module, home)
        torch.save(dict(state_dict={}, extra=Thing()), path)
    with pytest.raises(
        CheckpointError, match=f'not installed here .*{text}.*install'
    ):
        load_checkpoint(path, trust=True)


def test_trusted_tar_file(tmp_path):
    path = tmp_path / 'weights.pth'
    to_tar(path)
    with pytest.raises(CheckpointError, match='weights.pth is damaged'):
        load_checkpoint(path, trust=True)


def test_keys_that_are_no_names(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({1: torch.ones(1), 'a': torch.ones(1)}, path)
    assert list(get_state_dict(load_checkpoint(path))) == ['a']


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    'damage, text',
    [
        (lambda p: p.unlink(), 'existing file'),
        (lambda p: p.write_bytes(b''), 'empty'),
        (lambda p: p.write_text('<!DOCTYPE html><html>'), 'web page'),
        (lambda p: p.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(99)), 'damaged'),
        (truncate, 'damaged'),
        (lambda p: torch.save([1, 2], p), 'must hold a dict'),
        (lambda p: torch.save(dict(state_dict=3), p), 'under "state_dict"'),
        (
            lambda p: zipfile.ZipFile(p, 'w').writestr('a.txt', 'hello'),
            'damaged',
        ),
        (lambda p: p.write_text('hello'), 'PyTorch file .KeyError'),
        (to_tar, 'damaged'),
    ],
)
def test_bad_files(tmp_path, damage, text):
    path = tmp_path / 'weights.pth'
    torch.save(dict(weight=torch.rand(1000)), path)
    check_file(path)
    damage(path)
    with pytest.raises(CheckpointError, match=text) as error:
        load_checkpoint(path)
    assert 'weights.pth' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: s,
        lambda s: dict(model=s, epoch=3),
        lambda s: dict(state_dict=s, meta={}),
        lambda s: dict(state_dict={f'module.{k}': v for k, v in s.items()}),
    ],
)
def test_get_state_dict(tmp_path, wrap):
    state = {'conv.weight': torch.rand(2), 'conv.bias': torch.rand(2)}
    torch.save(wrap(state), tmp_path / 'weights.pth')
    checkpoint = load_checkpoint(tmp_path / 'weights.pth')
    found = get_state_dict(checkpoint)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    # MMEngine looks there or at the top
    assert 'model' not in checkpoint
