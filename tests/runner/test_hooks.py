import json
from types import SimpleNamespace
from unittest import mock

import pytest
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel
from torch import nn

from mmrep.checkpoint import CheckpointError, check_fit
from mmrep.models import RepLKNet
from mmrep.runner import CheckpointGuardHook, LoggerHook


@pytest.fixture
def runner(tiny_arch):
    logger = MMLogger.get_instance('test_hooks')
    return SimpleNamespace(model=RepLKNet(tiny_arch), logger=logger)


def check(runner, state, strict=True):
    hook = CheckpointGuardHook(strict)
    hook.after_load_checkpoint(runner, dict(state_dict=state))


def test_fitting_checkpoint(runner):
    state = runner.model.state_dict()
    check(runner, state)
    check(runner, {f'module.{k}': v for k, v in state.items()})


def test_tta_model_is_looked_through(runner):
    class TTA(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return data_samples_list

    state = runner.model.state_dict()
    runner.model.test_step = None  # BaseTTAModel asks for one
    runner.model = TTA(runner.model)
    check(runner, state)


def test_foreign_checkpoint(runner):
    with pytest.raises(CheckpointError, match='does not fit'):
        check(runner, nn.Linear(2, 2).state_dict())
    with pytest.raises(CheckpointError, match='does not fit'):
        check(runner, nn.Linear(2, 2).state_dict(), strict=False)


def test_missing_parameter(runner):
    state = dict(runner.model.state_dict())
    del state['stem.0.conv.weight']
    with pytest.raises(CheckpointError, match='stem.0.conv.weight'):
        check(runner, state)
    check(runner, state, strict=False)


def test_other_shape(runner):
    state = dict(runner.model.state_dict())
    state['stem.0.conv.weight'] = state['stem.0.conv.weight'][:1]
    with pytest.raises(CheckpointError, match=r'\(1, 3, 3, 3\) instead'):
        check(runner, state)
    check(runner, state, strict=False)


def test_deploy_checkpoint_is_explained(runner, tiny_arch):
    state = RepLKNet(tiny_arch, deploy=True).state_dict()
    with pytest.raises(CheckpointError, match='backbone.deploy=True'):
        check(runner, state)


def test_deploy_checkpoint_is_no_start_of_a_training(runner, tiny_arch):
    """It would leave the branches of all large kernels as they are."""
    state = RepLKNet(tiny_arch, deploy=True).state_dict()
    with pytest.raises(CheckpointError, match='deploy form, .* be trained'):
        check(runner, state, strict=False)


def test_fine_tuning_says_what_starts_anew(runner):
    state = dict(runner.model.state_dict())
    state['stem.0.conv.weight'] = state['stem.0.conv.weight'][:1]
    state['head.fc.weight'] = nn.Linear(2, 2).weight
    note = check_fit(runner.model, state, strict=False)
    assert 'does not fit' not in note
    assert 'initial values remain in 1 parameter, which' in note
    assert 'stem.0.conv.weight' in note
    assert 'not used: 1 of the checkpoint (head.fc.weight)' in note


def test_resume_needs_more_than_weights(runner):
    checkpoint = dict(state_dict=runner.model.state_dict(), meta={})
    hook = CheckpointGuardHook(resume=True)
    with pytest.raises(CheckpointError, match='message_hub.*load_from=PATH'):
        hook.after_load_checkpoint(runner, checkpoint)
    checkpoint.update(
        meta=dict(epoch=0, iter=2, config='raise SystemExit'),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[]),
    )
    runner.hooks, runner.work_dir = [], 'work'
    hook.after_load_checkpoint(runner, checkpoint)
    assert checkpoint['meta'] == dict(epoch=0, iter=2), 'else it is executed'


@pytest.mark.parametrize('rank', [0, 1])
def test_rank_0_alone_writes_the_metrics(monkeypatch, tmp_path, rank):
    monkeypatch.setattr(
        'mmengine.dist.utils.get_rank', lambda group=None: rank
    )
    runner = mock.MagicMock(log_dir=str(tmp_path))
    after_epoch = runner.log_processor.get_log_after_epoch
    after_epoch.return_value = {'mIoU': 62.0}, 'mIoU: 62.0'
    hook = LoggerHook()
    hook.json_log_path = 'metrics.json'
    hook.after_test_epoch(runner)
    written = {p.name: json.loads(p.read_text()) for p in tmp_path.iterdir()}
    assert written == ({} if rank else {'metrics.json': {'mIoU': 62.0}})
