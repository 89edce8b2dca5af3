"""tools/convert_checkpoint.py as a user runs it."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmrep.checkpoint import load_checkpoint
from mmrep.deploy import build_model
from mmrep.engine.cli import run

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/convert_checkpoint.py'
CONFIG = ROOT / 'configs/upernet_replknet-tiny_shapes.py'


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the script here; give its error, or 0, and what it printed."""
    spec = importlib.util.spec_from_file_location('convert_checkpoint', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        failed = False
        try:
            run(module.main)
        except SystemExit as error:
            assert error.code
            failed = True
        printed = capsys.readouterr()
        return printed.err.strip() if failed else 0, printed.out

    return call


def trained(deploy=False):
    """Random weights of the config's model, as MMSegmentation 0.x saves."""
    model = build_model(Config.fromfile(CONFIG), meta=True)
    if deploy:
        model.backbone.switch_to_deploy()
    state = {
        key: torch.ones(()).long()
        if value.dtype == torch.int64
        else torch.rand(value.shape)
        for key, value in model.state_dict().items()
    }
    return dict(
        state_dict=state,
        optimizer=dict(state={}),
        meta=dict(CLASSES=('a', 'b'), PALETTE=[[0, 0, 0], [1, 1, 1]]),
    )


def test_segmentor(run_tool, tmp_path):
    checkpoint = trained()
    torch.save(checkpoint, tmp_path / 'a.pth')
    done = run_tool(
        TOOL, tmp_path / 'a.pth', tmp_path / 'b.pth', '--config', CONFIG,
        fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'layout: segmentor or detector, training form' in done.stdout
    for line in ('missing: 0', 'unexpected: 0', 'mismatched: 0'):
        assert line in done.stdout
    written = torch.load(tmp_path / 'b.pth', weights_only=True)
    state = checkpoint['state_dict']
    assert written['state_dict'].keys() == state.keys()
    assert all(torch.equal(written['state_dict'][k], state[k]) for k in state)
    assert written['meta']['dataset_meta']['classes'] == ('a', 'b')


def test_deploy_form_and_classes_of_the_config(tool, tmp_path):
    checkpoint = trained(deploy=True)
    del checkpoint['meta']
    torch.save(checkpoint, tmp_path / 'a.pth')
    status, out = tool(
        tmp_path / 'a.pth', tmp_path / 'b.pth', '--config', CONFIG
    )
    assert status == 0 and 'model.backbone.deploy=True' in out
    meta = load_checkpoint(tmp_path / 'b.pth')['meta']
    assert meta['source']['form'] == 'deploy'
    assert 'triangle' in meta['dataset_meta']['classes']


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_crafted_file(tool, tmp_path):
    source, out = tmp_path / 'a.pth', tmp_path / 'b.pth'
    trap = tmp_path / 'trap'
    torch.save(dict(trained(), extra=Payload(trap)), source)
    out.write_text('precious')
    status, _ = tool(source, out, '--config', CONFIG)
    assert 'mkdir' in status and '--trust-checkpoint' in status
    assert not trap.exists() and out.read_text() == 'precious'
    status, _ = tool(source, out, '--config', CONFIG, '--trust-checkpoint')
    assert status == 0 and trap.exists(), 'the file must be one that runs code'


def other_width(path):
    checkpoint = trained()
    state = checkpoint['state_dict']
    key = 'backbone.stem.0.conv.weight'
    state[key] = torch.rand(64, 3, 3, 3)
    torch.save(checkpoint, path)


def truncated(path):
    torch.save(trained(), path)
    path.write_bytes(path.read_bytes()[:10000])


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda p: None, 'existing file'),
        (lambda p: p.write_bytes(b''), 'empty'),
        (lambda p: p.write_text('<!DOCTYPE html>'), 'web page'),
        (truncated, 'damaged'),
        (lambda p: torch.save({'fc.weight': torch.rand(2)}, p), 'layout'),
        (other_width, '(64, 3, 3, 3) instead of (32, 3, 3, 3)'),
    ],
)
def test_wrong_files(tool, tmp_path, make, text):
    make(tmp_path / 'a.pth')
    status, _ = tool(
        tmp_path / 'a.pth', tmp_path / 'b.pth', '--config', CONFIG
    )
    assert status.startswith('error: ') and text in status
    assert '\n' not in status
    assert not (tmp_path / 'b.pth').exists()
    assert len(list(tmp_path.iterdir())) <= 1


def test_released_file_is_kept(tool, tmp_path):
    source, link = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(trained(), source)
    link.symlink_to(source)
    before = source.read_bytes()
    for out in (source, link):
        status, _ = tool(source, out, '--config', CONFIG)
        assert 'must not overwrite the input' in status
    assert source.read_bytes() == before and link.is_symlink()


def test_unwritable_path(tool, tmp_path):
    """A path that cannot be written is one line, too."""
    torch.save(trained(), tmp_path / 'a.pth')
    (tmp_path / 'file').write_text('')
    status, _ = tool(
        tmp_path / 'a.pth', tmp_path / 'file/b.pth', '--config', CONFIG
    )
    assert 'cannot be written' in status
