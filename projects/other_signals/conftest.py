"""What the tests of the signals share."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmrep.deploy import to_deploy_form
from mmrep.registry import MODELS
from projects.other_signals.export_onnx import export

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / 'tools'


@pytest.fixture
def small_model():
    """Build the classifier of a config with four blocks and five classes."""

    def build(config):
        torch.manual_seed(0)
        cfg = Config.fromfile(config).model
        cfg.backbone.arch.update(channels=(8, 12, 16, 24), depths=(1, 1, 1, 1))
        cfg.backbone.arch.kernel_sizes = ((3,), (13,), (13,), (3,))
        return MODELS.build(dict(cfg, in_channels=24, num_classes=5))

    return build


@pytest.fixture
def check_step():
    """Check that a step of training changes nearly all parameters."""

    def check(model, optim_wrapper, data):
        wrapper = build_optim_wrapper(model, optim_wrapper)
        before = [p.detach().clone() for p in model.parameters()]
        assert model.train_step(data, wrapper)['loss'].isfinite()
        changed = [
            not torch.equal(a, b)
            for a, b in zip(before, model.parameters(), strict=True)
        ]
        assert sum(changed) > 0.9 * len(changed)

    return check


@pytest.fixture
def check_deploy_form(randomise, tmp_path):
    """Check that deploy form and ONNX file give what the model gives."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')

    def check(model, inputs, difference=1e-4, **tolerances):
        randomise(model).eval()
        with torch.no_grad():
            expected = model(inputs)
            merged = to_deploy_form(model)(inputs)
        torch.testing.assert_close(merged, expected, **tolerances)
        path = tmp_path / 'model.onnx'
        assert export(model, dict(inputs=inputs), path, difference) < (
            difference
        )

    return check


@pytest.fixture
def train_and_test(run_tool, tmp_path, monkeypatch):
    """Train a config for an epoch, test it, and export it, as users do."""
    paths = (str(HERE.parents[1]), os.environ.get('PYTHONPATH'))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))

    def call(script, *words):
        done = run_tool(script, *words, fresh=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def run(config, options, data_root=None, exports=True):
        """What the test says."""
        options = ['--cfg-options', 'train_cfg.max_epochs=1', *options]
        shared = ['--work-dir', tmp_path]
        if data_root is not None:
            shared += ['--data-root', data_root]
        checkpoint, file = tmp_path / 'epoch_1.pth', tmp_path / 'model.onnx'
        call(TOOLS / 'train.py', config, *shared, *options)
        text = call(TOOLS / 'test.py', config, checkpoint, *shared, *options)
        if exports:
            if data_root is not None:
                options.append(
                    f'test_dataloader.dataset.data_root={data_root}'
                )
            call(HERE / 'export_onnx.py', config, checkpoint, file, *options)
            assert file.stat().st_size > 1000
        return text

    return run
