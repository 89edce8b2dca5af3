"""Kill -9 and go on: the end is that of a run that was left alone."""

import json
import os
import random
import shutil
import signal
import sys
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import ValLoop

from mmrep.checkpoint import CheckpointError, load_checkpoint
from mmrep.runner import resume
from mmrep.runner.resume import (
    check_resumable,
    find_checkpoint,
    find_damage,
    keep_to_own_folder,
    prepare_resume,
)

EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]"


def state_of(path):
    checkpoint = load_checkpoint(str(path))
    return {
        key: checkpoint[key]
        for key in ('state_dict', 'optimizer', 'param_schedulers',
                    'ema_state_dict')
        if key in checkpoint
    }  # fmt: skip


def assert_same(a, b, **tolerance):
    if isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, **(tolerance or dict(rtol=0, atol=0)))
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key], **tolerance)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y, **tolerance)
    elif not callable(a):
        assert a == b


def losses(work_dir):
    """Loss by iteration; the last one written counts."""
    found = {}
    for path in sorted(work_dir.glob('2*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if 'loss' in record:
                found[record['step']] = record['loss']
    return found


@pytest.mark.parametrize('workers', [0, 2])
def test_kill_and_resume(train, tmp_path, workers):
    """With drop path, augmentation and EMA; another number of workers."""
    whole = train(extra=EMA, work_dir='whole')
    broken = train(
        options={'train_dataloader.num_workers': workers},
        extra=EMA,
        work_dir='broken',
    )
    # iteration 2 is logged before its checkpoint is written
    last = random.choice([3, 4, 5])
    broken.wait_for(f'Iter(train) [{last}/6]')
    broken.kill()
    assert whole.wait() == 0, whole.log[-3000:]
    resumed = train('--resume', extra=EMA, work_dir='broken')
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert 'resumed epoch: 0, iter: ' in resumed.log
    assert 'Iter(train) [1/6]' not in resumed.log
    assert_same(
        state_of(tmp_path / 'whole/iter_6.pth'),
        state_of(tmp_path / 'broken/iter_6.pth'),
    )
    assert 'ema_state_dict' in state_of(tmp_path / 'whole/iter_6.pth')


def die_in_validation():
    def run_iter(self, idx, data_batch):
        os.kill(os.getpid(), signal.SIGKILL)

    ValLoop.run_iter = run_iter


@pytest.mark.parametrize('end, validations', [(6, 1), (8, 2)])
def test_killed_in_validation(train, tmp_path, end, validations):
    """It is made up for, at the end of a schedule and before, and once."""
    options = {
        'train_cfg.max_iters': end,
        'train_cfg.val_interval': 6,
        'default_hooks.checkpoint.save_best': 'mIoU',
    }
    broken = train(options=options, prepare=die_in_validation)
    assert broken.wait() == -signal.SIGKILL, broken.log[-3000:]
    resumed = train('--resume', options=options)
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert resumed.log.count(' mIoU: ') == validations
    assert len(list(tmp_path.glob('work/best_mIoU_*.pth'))) == 1
    again = train('--resume', options=options)
    assert again.wait() == 0, again.log[-3000:]
    assert f'nothing is left to train: {end} of {end}' in again.log
    assert ' mIoU: ' not in again.log


def say_checks():
    def check(path):
        sys.stdout.write('checking\n')
        return find_damage(path)

    resume.find_damage = check


def test_kill_one_of_two(train_two, tmp_path):
    """Both end; resumed, the weights are those of a run left alone."""
    env = {'CUDA_VISIBLE_DEVICES': '-1'}
    for run in train_two(work_dir='whole', extra=EMA, env=env):
        assert run.wait() == 0, run.log[-3000:]
    broken = train_two(work_dir='broken', extra=EMA, env=env)
    victim, other = random.sample(broken, 2)
    broken[0].wait_for(f'Iter(train) [{random.choice([3, 4, 5])}/6]')
    victim.kill()
    # no torchrun here to end it: it has to notice
    assert other.wait() == 1
    assert 'lost another process' in other.error
    resumed = train_two(
        '--resume', work_dir='broken', extra=EMA, env=env, prepare=say_checks
    )
    for run in resumed:
        assert run.wait() == 0, run.log[-3000:]
    assert [run.log.count('checking') for run in resumed] == [1, 0]
    assert_same(
        state_of(tmp_path / 'whole/iter_6.pth'),
        state_of(tmp_path / 'broken/iter_6.pth'),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.fixture
def checkpoints(tmp_path):
    """Three checkpoints of a run, and ones that are not to be resumed."""
    for i in (2, 4, 6):
        path = tmp_path / f'iter_{i}.pth'
        torch.save(dict(state_dict=dict(w=torch.rand(99)), meta={}), path)
        os.utime(path, (i, i))
    for name in ('best_mIoU_iter_8.pth', 'post_mortem_iter_9.pth'):
        (tmp_path / name).write_bytes(path.read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(path))
    return tmp_path


def flip(path):
    data = bytearray(path.read_bytes())
    at = data.index(torch.load(path)['state_dict']['w'].numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('damage, said', [(flip, 'checksum'),
                                          (cut, 'truncated'),
                                          (empty, 'empty')])  # fmt: skip
def test_damaged_checkpoint(checkpoints, damage, said):
    assert find_checkpoint(checkpoints)[0] == str(checkpoints / 'iter_6.pth')
    for i, older in ((6, 4), (4, 2)):
        damage(checkpoints / f'iter_{i}.pth')
        assert said in find_damage(str(checkpoints / f'iter_{i}.pth'))
        path, notes = find_checkpoint(checkpoints)
        assert path == str(checkpoints / f'iter_{older}.pth')
        assert f'iter_{i}.pth is damaged' in '; '.join(notes)
    damage(checkpoints / 'iter_2.pth')
    with pytest.raises(CheckpointError, match='no checkpoint in .* resumed'):
        find_checkpoint(checkpoints)


@pytest.mark.parametrize('text', [None, '/gone/iter_6.pth'])
def test_last_checkpoint_is_no_use(checkpoints, text):
    last = checkpoints / 'last_checkpoint'
    if text is None:
        last.unlink()
    else:
        last.write_text(text)
    newest = str(checkpoints / 'iter_6.pth')
    assert find_checkpoint(checkpoints) == (newest, [])


@pytest.mark.parametrize(
    'text, fault',
    [
        ('', 'it names no checkpoint'),
        ('\0\xff', 'it names no checkpoint'),
        ('/gone/iter_8.pth', "it names 'iter_8.pth', which does not exist"),
    ],
)
def test_damaged_last_checkpoint_is_said(checkpoints, text, fault):
    (checkpoints / 'last_checkpoint').write_bytes(text.encode('latin-1'))
    path, (note, instead) = find_checkpoint(checkpoints)
    assert path == str(checkpoints / 'iter_6.pth')
    assert note.startswith(f'{checkpoints / "last_checkpoint"} is damaged: ')
    assert fault in note and 'to --resume' in note
    assert instead == f'the run continues from {path} instead'
    # nor is it silent where nothing else is there
    for file in checkpoints.glob('*.pth'):
        file.unlink()
    cfg = Config(dict(resume='auto', model={}, work_dir=str(checkpoints)))
    note, nothing = prepare_resume(cfg)
    assert fault in note and nothing.startswith('nothing to resume in ')


def test_last_checkpoint_counts(checkpoints):
    (checkpoints / 'last_checkpoint').write_text('/elsewhere/iter_4.pth')
    assert find_checkpoint(checkpoints)[0] == str(checkpoints / 'iter_4.pth')


def test_copied_work_dir_goes_on_from_its_own_files(checkpoints, tmp_path):
    """The original's path stands in last_checkpoint, and still exists."""
    copy = tmp_path / 'copy'
    copy.mkdir()
    for name in ('iter_4.pth', 'last_checkpoint'):
        (copy / name).write_bytes((checkpoints / name).read_bytes())
    assert find_checkpoint(copy)[0] == str(copy / 'iter_4.pth')


@pytest.mark.parametrize('text', ['..', '.', '/', 'x' * 5000, '\0', '\xff'])
def test_last_checkpoint_is_no_name(checkpoints, text):
    (checkpoints / 'last_checkpoint').write_bytes(text.encode('latin-1'))
    assert find_checkpoint(checkpoints)[0] == str(checkpoints / 'iter_6.pth')


def whole():
    """What a run needs to go on."""
    return dict(
        meta=dict(epoch=0, iter=2, seed=3),
        message_hub=dict(
            log_scalars={}, runtime_info=dict(best_score=1.0), resumed_keys={}
        ),
        optimizer=dict(state={}, param_groups=[{}]),
        param_schedulers=[{}],
    )


@pytest.mark.parametrize(
    'path, value, text',
    [
        ('meta', 5, 'meta is not a dict'),
        ('meta.seed', 'x', "meta.seed must be a whole number, got 'x'"),
        ('meta.iter', None, 'meta.iter must be a whole number from 0'),
        ('meta.iter', -1, 'meta.iter must be a whole number from 0, got -1'),
        ('meta.epoch', True, 'meta.epoch must be a whole number from 0'),
        ('message_hub', [1], 'message_hub is not a dict'),
        ('message_hub.log_scalars', 5, 'message_hub.log_scalars must be'),
        ('message_hub.resumed_keys', None, 'message_hub.resumed_keys must'),
        ('message_hub.runtime_info', [], 'message_hub.runtime_info must be'),
        ('message_hub.runtime_info.best_score', 'x', 'best_score must be a'),
        ('optimizer', None, 'optimizer is not a dict'),
        ('optimizer', {}, 'optimizer must have param_groups and state'),
        ('optimizer.param_groups', 5, 'optimizer must have param_groups'),
        ('optimizer.state', 5, 'optimizer must have param_groups and state'),
        ('param_schedulers', 5, 'param_schedulers is not a list'),
    ],
)
def test_checkpoint_of_another_form(path, value, text):
    check_resumable(whole())
    checkpoint = node = whole()
    *parents, last = path.split('.')
    for part in parents:
        node = node[part]
    node[last] = value
    with pytest.raises(CheckpointError) as error:
        check_resumable(checkpoint, 'a.pth')
    assert text in str(error.value)
    assert str(error.value).startswith('a run cannot be resumed from a.pth: ')


def test_state_of_several_optimizers_can_be_resumed():
    state = whole()['optimizer']
    check_resumable({**whole(), 'optimizer': dict(a=state, b=state)})


def test_other_parts_than_the_config_has(train, tmp_path):
    """Found by MMEngine, when it loads the states."""
    run = train(options={'train_cfg.max_iters': 2})
    assert run.wait() == 0, run.log[-3000:]
    path = tmp_path / 'work/iter_2.pth'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['optimizer']['param_groups'].pop()
    torch.save(checkpoint, path)
    resumed = train('--resume', options={'train_cfg.max_iters': 4})
    assert resumed.wait() == 1
    assert 'which does not match this config' in resumed.error
    assert 'different number of parameter groups' in resumed.error


def test_checkpoints_in_another_folder(checkpoints, tmp_path):
    """As CheckpointHook's out_dir puts them."""
    work_dir = tmp_path / 'elsewhere/run'
    work_dir.mkdir(parents=True)
    (work_dir / 'last_checkpoint').write_text('/gone/iter_4.pth')
    path, _ = find_checkpoint(work_dir, checkpoints)
    assert path == str(checkpoints / 'iter_4.pth')


SAVE_BEST = {
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.save_best': 'mIoU',
    'default_hooks.checkpoint.max_keep_ckpts': 1,
}


def better_each_time():
    """Each validation gives a higher score than the one before."""
    Evaluator.evaluate = lambda self, size: dict(mIoU=time.time())


def rewrite(path, **info):
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['message_hub']['runtime_info'].update(info)
    torch.save(checkpoint, path)


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_nothing_outside_the_work_dir_is_removed(train, tmp_path, kind):
    """A checkpoint names another place as that of the best one so far."""
    run = train(
        options={**SAVE_BEST, 'train_cfg.max_iters': 4},
    )
    assert run.wait() == 0, run.log[-3000:]
    victim = tmp_path / 'precious'
    if kind == 'folder':
        (victim / 'inner').mkdir(parents=True)
    else:
        victim.write_text('precious')
    rewrite(
        tmp_path / 'work/iter_4.pth',
        best_ckpt=str(victim),
        last_ckpt=str(victim),
        best_score=-1.0,
        keep_ckpt_ids=['/../../precious', 4],
    )
    resumed = train('--resume', options=SAVE_BEST)
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert victim.exists()
    kept = sorted(p.name for p in (tmp_path / 'work').glob('iter_*.pth'))
    assert kept == ['iter_6.pth']


def test_copy_of_a_run_leaves_the_original_alone(train, tmp_path):
    options = {**SAVE_BEST, 'train_cfg.max_iters': 4}
    run = train(options=options, prepare=better_each_time)
    assert run.wait() == 0, run.log[-3000:]
    shutil.copytree(tmp_path / 'work', tmp_path / 'copy')
    before = {p.name for p in (tmp_path / 'work').glob('*.pth')}
    assert 'best_mIoU_iter_4.pth' in before
    resumed = train(
        '--resume',
        work_dir='copy',
        options=SAVE_BEST,
        prepare=better_each_time,
    )
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert f'{tmp_path}/copy/iter_4.pth' in resumed.log
    assert {p.name for p in (tmp_path / 'work').glob('*.pth')} == before
    best = [p.name for p in (tmp_path / 'copy').glob('best_*')]
    assert best == ['best_mIoU_iter_6.pth']


def test_paths_of_a_message_hub():
    info = dict(
        last_ckpt='/other/run/iter_2.pth',
        best_ckpt=r'C:\run\best_mIoU_iter_2.pth',
        best_ckpt_IoU='best_photos',
        best_ckpt_mAcc='..',
        best_ckpt_aAcc=None,
        best_ckpt_mDice='/run/iter_4.pth',
        best_score=1.0,
        keep_ckpt_ids=[2, '/../x', True, 4],
    )
    keep_to_own_folder(info, '/run')
    assert info == dict(
        last_ckpt='/run/iter_2.pth',
        best_ckpt='/run/best_mIoU_iter_2.pth',
        best_score=1.0,
        keep_ckpt_ids=[2, 4],
    )


@pytest.mark.parametrize(
    'most, text',
    [
        (dict(max_iters=2), 'is from iter 2, and train_cfg.max_iters is 2'),
        (dict(max_epochs=0), 'is from epoch 0, and train_cfg.max_epochs is 0'),
        (dict(max_iters=3), None),
    ],
)
def test_nothing_left_to_train(tmp_path, most, text):
    path = tmp_path / 'iter_2.pth'
    torch.save(whole(), path)
    cfg = Config(dict(load_from=str(path), resume=True, model={}))
    cfg.train_cfg, cfg.work_dir = most, str(tmp_path)
    notes = prepare_resume(cfg)
    assert len(notes) == (text is not None)
    assert text is None or text in notes[0]


def test_nothing_to_resume(tmp_path):
    assert find_checkpoint(tmp_path) == (None, [])


def test_damaged_newest_is_said(train, tmp_path):
    assert train(options={'train_cfg.max_iters': 4}).wait() == 0
    cut(tmp_path / 'work/iter_4.pth')
    resumed = train('--resume')
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert 'iter_4.pth is damaged (it is truncated)' in resumed.log
    assert 'resumed epoch: 0, iter: 2' in resumed.log


def test_resume_at_iteration_100000(train, tmp_path):
    """No slower than a start: the data loader does not replay."""
    start = train()
    assert start.wait() == 0, start.log[-3000:]
    path = tmp_path / 'work/iter_6.pth'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['meta']['iter'] = 100_000
    torch.save(checkpoint, path)
    seconds = []
    for args, iters, sign in (
        ((), 6, '[1/6]'),
        (('--resume',), 100_006, '[100001/100006]'),
    ):
        begin = time.monotonic()
        run = train(
            *args,
            work_dir='work' if args else 'other',
            options={
                'train_cfg.max_iters': iters,
                'train_dataloader.num_workers': 2,
            },
        )
        run.wait_for(f'Iter(train) {sign}')
        seconds.append(time.monotonic() - begin)
        run.kill()
    assert seconds[1] < seconds[0] + 5, seconds
