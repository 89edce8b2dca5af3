import os
import pickle
import zipfile

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from mmrep.checkpoint import (
    CheckpointError,
    check_file,
    enforce_safe_loading,
    get_state_dict,
    load_checkpoint,
)


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
    torch.save(dict(state_dict={}, meta=Payload(trap)), path)
    return path, trap


@pytest.fixture
def safe_loading(monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setattr(
        CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes)
    )
    enforce_safe_loading()


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


def test_enforced_for_mmengine_and_torch(crafted, safe_loading):
    path, trap = crafted
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(str(path))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert not trap.exists()


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
        (
            lambda p: zipfile.ZipFile(p, 'w').writestr('a.txt', 'hello'),
            'damaged',
        ),
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
def test_get_state_dict(wrap):
    state = {'conv.weight': torch.rand(2), 'conv.bias': torch.rand(2)}
    assert get_state_dict(wrap(state)) == state
