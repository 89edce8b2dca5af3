"""What happens on bad days; docs/reliability.md lists these tests."""

import io
import logging
import os
import resource
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import mmengine.fileio
import numpy as np
import pytest
import torch
from mmseg.datasets import BaseSegDataset
from mmseg.models import EncoderDecoder

from mmrep.errors import UsageError
from mmrep.files import WriteError, replaced
from mmrep.runner.faults import Interrupts
from mmrep.runner.work_dir import WorkDirLock

from .test_resume import assert_same, state_of

CPU = {'CUDA_VISIBLE_DEVICES': '-1'}


def same_end(tmp_path, a, b, **tolerance):
    paths = [tmp_path / name / 'iter_6.pth' for name in (a, b)]
    assert_same(*map(state_of, paths), **tolerance)


@pytest.fixture(scope='module')
def whole(request, shapes_root, tmp_path_factory):
    """The work dir of a run that nothing happened to."""
    from .conftest import CONFIG, ROOT, SMALL, Run

    work_dir = tmp_path_factory.mktemp('faults') / 'whole'
    options = [f'{key}={value}' for key, value in SMALL.items()]
    run = Run(
        [ROOT / 'tools/train.py', CONFIG, '--data-root', shapes_root,
         '--work-dir', work_dir, '--cfg-options', *options],
        work_dir.with_suffix('.log'),
    )  # fmt: skip
    assert run.wait() == 0, run.log[-3000:]
    return work_dir


@pytest.mark.parametrize(
    'number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_signal(train, tmp_path, whole, number):
    """A checkpoint is written, and the run goes on from it."""
    run = train(prepare=heed_sighup)
    run.wait_for('Iter(train) [3/6]')
    run.send(number)
    assert run.wait() == 128 + number
    assert f'stopped by {number.name} after iteration' in run.error
    last = Path((tmp_path / 'work/last_checkpoint').read_text())
    assert last.is_file() and str(last) in run.error
    assert torch.load(last, weights_only=False)['meta']['iter'] >= 3
    resumed = train('--resume')
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert_same(
        state_of(whole / 'iter_6.pth'), state_of(tmp_path / 'work/iter_6.pth')
    )
    assert not list((tmp_path / 'work').glob('interrupted*'))


def heed_sighup():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also below nohup


def sit_at(terminal):
    """Have a terminal, which tells its processes when it is closed."""
    heed_sighup()
    handle = os.open(terminal, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)


def test_closed_terminal(train, tmp_path):
    """What is left to be printed has nowhere to go."""
    window, terminal = os.openpty()
    run = train(prepare=partial(sit_at, os.ttyname(terminal)))
    shown = b''
    while b'Iter(train) [3/6]' not in shown:
        shown += os.read(window, 4096)
    os.close(terminal)
    os.close(window)
    assert run.wait() == 128 + signal.SIGHUP
    last = Path((tmp_path / 'work/last_checkpoint').read_text())
    assert torch.load(last, weights_only=False)['meta']['iter'] >= 3


def ignore_sighup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does


def test_closed_terminal_under_nohup(train, tmp_path):
    run = train(prepare=ignore_sighup)
    run.wait_for('Iter(train) [3/6]')
    run.send(signal.SIGHUP)
    assert run.wait() == 0, run.log[-3000:]
    assert (tmp_path / 'work/iter_6.pth').is_file()


def test_signal_to_one_of_two(train_two, tmp_path):
    runs = train_two(env=CPU)
    runs[0].wait_for('Iter(train) [2/6]')
    runs[1].send(signal.SIGTERM)
    for run in runs:
        assert run.wait() == 128 + signal.SIGTERM, run.log[-3000:]
    ends = {run.error.partition(' after ')[2] for run in runs}
    assert len(ends) == 1, 'both stop behind the same iteration'
    assert (tmp_path / 'work/last_checkpoint').is_file()


def test_signal_while_a_line_is_written():
    """A stream refuses a second line from the same thread."""
    written = []

    class Raw(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            written.append(bytes(data))
            if len(written) == 1:
                signal.raise_signal(signal.SIGUSR1)
            return len(data)

    handler = logging.StreamHandler(io.TextIOWrapper(io.BufferedWriter(Raw())))
    errors = []
    handler.handleError = errors.append
    logger = logging.Logger('test_signal')
    logger.addHandler(handler)
    with Interrupts(logger) as interrupts:
        logger.info('a line')
        assert interrupts.signal == signal.SIGUSR1
        while len(written) < 2 and not errors:
            time.sleep(0.01)
    assert not errors
    assert written[0] == b'a line\n' and b'SIGUSR1 received' in written[1]


def slow_saving():
    put = mmengine.fileio.LocalBackend.put

    def wait_and_put(self, data, path):
        sys.stdout.write('the file is open\n')
        time.sleep(60)
        put(self, data, path)

    mmengine.fileio.LocalBackend.put = wait_and_put


def test_second_ctrl_c_stops_at_once(train, tmp_path):
    run = train(prepare=slow_saving)
    run.wait_for('Saving checkpoint at 2')
    run.send(signal.SIGINT)
    run.wait_for('press Ctrl-C again')
    run.wait_for('the file is open')
    run.send(signal.SIGINT)
    assert run.wait(30) == 130, run.log[-3000:]
    assert run.error == 'error: interrupted'
    assert not (tmp_path / 'work/last_checkpoint').exists()
    assert not list((tmp_path / 'work').glob('.partial*'))


def die_while_writing():
    put = mmengine.fileio.LocalBackend.put

    def put_half(self, data, path):
        if 'iter_4' in str(path):
            Path(path).write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, data, path)

    mmengine.fileio.LocalBackend.put = put_half


def die_before_last_checkpoint():
    rename = os.replace

    def die(source, target):
        if (
            Path(target).name == 'last_checkpoint'
            and Path(target).with_name('iter_4.pth').exists()
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = die


@pytest.mark.parametrize(
    'prepare', [die_while_writing, die_before_last_checkpoint]
)
def test_kill_while_a_checkpoint_is_written(train, tmp_path, whole, prepare):
    # the one before must not go while the next is not there
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    run = train(prepare=prepare, options=options)
    assert run.wait() == -signal.SIGKILL
    work_dir = tmp_path / 'work'
    assert list(work_dir.glob('.partial*'))
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_2.pth')
    resumed = train('--resume', options=options)
    assert resumed.wait() == 0, resumed.log[-3000:]
    assert 'resumed epoch: 0, iter: 2' in resumed.log
    assert_same(state_of(whole / 'iter_6.pth'),
                state_of(work_dir / 'iter_6.pth'))  # fmt: skip
    assert [p.name for p in work_dir.glob('iter_*')] == ['iter_6.pth']
    assert not list(work_dir.glob('.partial*'))


def half_a_file():
    """The file ends in the middle, as it does when a quota is used up."""
    put = mmengine.fileio.LocalBackend.put

    def put_half(self, data, path):
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        limit = (len(data) // 2, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        try:
            put(self, data, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    mmengine.fileio.LocalBackend.put = put_half


def test_full_disk(train, tmp_path):
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    short = {**options, 'train_cfg.max_iters': 2}
    assert train(options=short).wait() == 0
    run = train('--resume', options=options, prepare=half_a_file)
    assert run.wait() == 1, run.log[-3000:]
    assert 'iter_4.pth cannot be written' in run.error
    assert 'MB are free' in run.error and 'iter_2.pth is unt' in run.error
    work_dir = tmp_path / 'work'
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_2.pth')
    assert not list(work_dir.glob('.partial*'))
    assert train('--resume', options=options).wait() == 0


def test_no_space_left_on_device(mount):
    path = mount('disk', 'size=1m') / 'file'
    path.write_bytes(b'old' * 200_000)
    with pytest.raises(WriteError, match='No space left'):
        with replaced(path) as partial:
            partial.write_bytes(b'new' * 200_000)
    assert path.read_bytes() == b'old' * 200_000
    assert [p.name for p in path.parent.iterdir()] == ['file']
    with replaced(path, flush=True) as partial:
        partial.write_bytes(b'new')
    assert path.read_bytes() == b'new'


def test_read_only_work_dir(train, mount):
    mount('work', 'ro')
    run = train()
    assert run.wait() == 1
    assert 'work_dir must be a folder that can be written' in run.error


def test_two_runs_in_one_work_dir(train):
    first = train()
    first.wait_for('Iter(train) [1/6]')
    first.send(signal.SIGSTOP)
    second = train()
    assert second.wait() == 1
    assert f'(process {first.process.pid} on ' in second.error
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.log[-3000:]


def test_lock_of_another_process(tmp_path):
    pid = os.fork()
    if pid == 0:
        lock = WorkDirLock(tmp_path)
        (tmp_path / 'locked').touch()
        time.sleep(60)
        lock.release()
        os._exit(0)
    while not (tmp_path / 'locked').exists():
        time.sleep(0.01)
    with pytest.raises(UsageError, match=f'process {pid} on'):
        WorkDirLock(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    WorkDirLock(tmp_path).release()


def die_in_a_worker():
    """The worker that is to load the fifth image dies, in the first run."""
    prepare = BaseSegDataset.prepare_data
    mark = Path(sys.argv[sys.argv.index('--work-dir') + 1]) / 'died'

    def prepare_or_die(self, idx):
        self.calls = getattr(self, 'calls', 0) + 1
        worker = torch.utils.data.get_worker_info()
        if worker and worker.id == 1 and self.calls == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(self, idx)

    BaseSegDataset.prepare_data = prepare_or_die


@pytest.mark.parametrize('restarts', [3, 0])
def test_worker_dies(train, tmp_path, whole, restarts):
    run = train(
        options={
            'train_dataloader.num_workers': 2,
            'train_dataloader.persistent_workers': True,
            'train_cfg.max_worker_restarts': restarts,
        },
        prepare=die_in_a_worker,
    )
    if restarts:
        assert run.wait() == 0, run.log[-3000:]
        assert 'the data loader restarts at the same sample' in run.log
        assert_same(state_of(whole / 'iter_6.pth'),
                    state_of(tmp_path / 'work/iter_6.pth'))  # fmt: skip
    else:
        assert run.wait() == 1
        assert 'exited unexpectedly' in run.error
        assert 'num_workers' in run.error


@pytest.mark.parametrize('workers', [0, 2])
def test_label_outside_the_classes(train, shapes_root, tmp_path, workers):
    root = shutil.copytree(shapes_root, tmp_path / 'data')
    path = sorted((root / 'annotations/training').iterdir())[5]
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[20:40, 20:40] = 9
    cv2.imwrite(str(path), label)
    run = train(
        '--data-root', root, options={'train_dataloader.num_workers': workers}
    )
    assert run.wait() == 1
    image = root / 'images/training' / path.with_suffix('.jpg').name
    assert str(path) in run.log and str(image) in run.log
    assert 'labels must be 0 to 6 or 255 for pixels to ignore' in run.log
    assert 'has 8 (9 in the file; reduce_zero_label subtracts 1)' in run.log
    # a line of the tests' own is the last
    assert run.log.splitlines()[-2].startswith('error: labels must be')


def test_rank_that_does_not_come(train):
    run = train(
        '--launcher', 'pytorch', options={'env_cfg.dist_cfg.timeout': 3},
        env=dict(CPU, MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0',
                 WORLD_SIZE='2', LOCAL_RANK='0'),
    )  # fmt: skip
    assert run.wait() == 1
    assert 'rank 0 on ' in run.error and 'got no answer in time' in run.error


def test_rank_that_hangs(train_two):
    runs = train_two(options={'env_cfg.dist_cfg.timeout': 5}, env=CPU)
    runs[0].wait_for('Iter(train) [2/6]')
    runs[1].send(signal.SIGSTOP)
    begin = time.monotonic()
    assert runs[0].wait() == 1
    assert time.monotonic() - begin < 60
    assert 'rank 0 on ' in runs[0].error
    runs[1].kill()


def names_in(text):
    return {w.rpartition('/')[2] for w in text.replace(',', ' ').split()
            if '.jpg' in w}  # fmt: skip


def test_non_finite_loss(train, tmp_path):
    """It stops; the post-mortem begins with the very same batch."""
    options = {'optim_wrapper.optimizer.lr': 1e38}
    run = train(options=options)
    assert run.wait() == 1
    assert 'not finite in iteration' in run.error
    names = names_in(run.error)
    assert len(names) == 2
    path = next((tmp_path / 'work').glob('post_mortem_iter_*.pth'))
    assert str(path) in run.error
    checkpoint = torch.load(path, weights_only=False)
    assert np.size(checkpoint['meta']['images']) == 2
    again = train('--resume', path, options=options, work_dir='again')
    assert again.wait() == 1
    part = 'not finite in iteration'
    assert (
        again.error.partition(part)[2].split()[0]
        == run.error.partition(part)[2].split()[0]
    )
    assert names_in(again.error) == names


def spoil_rank_1():
    loss = EncoderDecoder.loss
    calls = []

    def spoilt(self, *args):
        losses = loss(self, *args)
        calls.append(1)
        if os.environ['RANK'] == '1' and 3 <= len(calls) <= 5:
            losses['decode.loss_ce'] = losses['decode.loss_ce'] * float('nan')
        return losses

    EncoderDecoder.loss = spoilt


@pytest.mark.parametrize('max_skips', [1, 3])
def test_non_finite_loss_of_one_rank(train_two, tmp_path, max_skips):
    """Both leave out the same steps, and stop in the same iteration."""
    runs = train_two(
        '--amp', options={'optim_wrapper.max_skips': max_skips}, env=CPU,
        prepare=spoil_rank_1,
    )  # fmt: skip
    codes = [run.wait() for run in runs]
    assert 'step 1 of at most' in runs[0].log, runs[1].log[-3000:]
    if max_skips == 3:
        assert codes == [0, 0], runs[0].log[-3000:]
        return
    assert codes == [1, 1]
    for run in runs:
        assert 'in iteration 4' in run.error
        assert 'rank 0:' in run.error and 'rank 1:' in run.error
        assert len(names_in(run.error)) == 4
    assert (tmp_path / 'work/post_mortem_iter_3.pth').is_file()
