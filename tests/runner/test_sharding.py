"""FSDP with two processes on the CPU, beside DDP."""

import json
import re

import pytest
from mmengine.config import Config

from mmrep.checkpoint import load_checkpoint
from mmrep.errors import UsageError
from mmrep.runner.sharding import prepare_sharding

from .conftest import ROOT
from .test_resume import assert_same, state_of

CPU = {'CUDA_VISIBLE_DEVICES': '-1'}
FSDP = {
    'runner_type': 'FlexibleRunner',
    'strategy.type': 'mmrep.FSDPStrategy',
    'strategy.min_num_params': 500,
    'model.backbone.with_cp': True,
}
OPTIONS = {
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    # with a larger one the loss rises, and rounding with it
    'optim_wrapper.optimizer.lr': 0.03,
    # else Adam's first steps are signs, which rounding turns over
    'optim_wrapper.optimizer.eps': 0.1,
    'optim_wrapper.clip_grad.max_norm': 1.0,
}


def scalars(work_dir, key):
    path = next(work_dir.glob('2*/vis_data/scalars.json'))
    records = map(json.loads, path.read_text().splitlines())
    return [record[key] for record in records if key in record]


def test_fsdp_is_ddp(train, train_two, tmp_path):
    """Loss, gradients, metrics, files; also resumed from DDP's file."""
    # what is drawn before the weights differs between MMEngine's runners
    options = {
        'train_cfg.max_iters': 1,
        'default_hooks.checkpoint.interval': 1,
    }
    run = train(work_dir='first', options={**OPTIONS, **options})
    assert run.wait() == 0, run.log[-3000:]
    first = {'load_from': tmp_path / 'first/iter_1.pth'}
    for name, args, options in (
        ('ddp', (), first),
        ('fsdp', (), {**first, **FSDP}),
        ('resumed', ('--resume', tmp_path / 'ddp/iter_2.pth'), FSDP),
    ):
        runs = train_two(
            *args, work_dir=name, options={**OPTIONS, **options}, env=CPU
        )
        for run in runs:
            assert run.wait() == 0, run.log[-3000:]
    own, total, blocks = map(int, re.search(
        r'rank 0 holds (\d+) of (\d+) parameters; (\d+) blocks', runs[0].log
    ).groups())  # fmt: skip
    assert own < 0.6 * total and blocks == 8
    ddp, fsdp, resumed = (
        tmp_path / name for name in ('ddp', 'fsdp', 'resumed')
    )
    for key in ('loss', 'grad_norm', 'mIoU'):
        found = scalars(fsdp, key)
        assert len(found) == (2 if key == 'mIoU' else 4)
        assert found == pytest.approx(scalars(ddp, key), rel=1e-3)
    expected = state_of(ddp / 'iter_4.pth')
    for folder in (fsdp, resumed):
        found = state_of(folder / 'iter_4.pth')
        assert_same(found, expected, rtol=1e-3, atol=3e-5)
        # also where the validation behind it was the best
        meta = load_checkpoint(str(folder / 'iter_4.pth'))['meta']
        assert meta['iter'] == 4


def test_config_of_xl():
    """The recipe without sharding, and nothing else."""
    stem = 'upernet_replknetxl-meg73m_ade20k-640x640'
    plain, sharded = (
        Config.fromfile(ROOT / f'configs/{name}.py')
        for name in (stem, f'{stem}_fsdp')
    )
    cfg = Config({**sharded, 'launcher': 'none'})
    prepare_sharding(cfg, 'test')
    assert cfg.to_dict() == {**plain.to_dict(), 'launcher': 'none'}
    cfg = Config({**sharded, 'launcher': 'none'})
    with pytest.raises(UsageError, match='start them with tools/dist_train'):
        prepare_sharding(cfg, 'train')


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(runner_type='Runner'), "needs runner_type='FlexibleRunner'"),
        (dict(custom_hooks=[dict(type='EMAHook')]), 'EMAHook does not work'),
    ],
)
def test_what_does_not_go_with_it(change, said):
    cfg = dict(
        launcher='pytorch',
        runner_type='FlexibleRunner',
        strategy=dict(type='mmrep.FSDPStrategy'),
    )
    prepare_sharding(Config(cfg), 'train')
    with pytest.raises(UsageError, match=said):
        prepare_sharding(Config({**cfg, **change}), 'train')
