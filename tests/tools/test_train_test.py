"""tools/train.py and tools/test.py as a user runs them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sweep import sweep

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / 'tools/train.py'
TEST = ROOT / 'tools/test.py'
CONFIG = ROOT / 'configs/upernet_replknet-tiny_shapes.py'
SMALL = (
    'model.backbone.arch.depths=[1,1,1,1]',
    'model.backbone.arch.kernel_sizes=[13,9,7,5]',
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
)


@pytest.fixture(scope='module')
def trained(run_tool, shapes_root, tmp_path_factory):
    """A work dir after two iterations, and what was printed."""
    work_dir = tmp_path_factory.mktemp('work')
    done = run_tool(
        TRAIN, CONFIG, '--work-dir', work_dir, '--data-root', shapes_root,
        '--auto-scale-lr', '--cfg-options', *SMALL, 'train_cfg.max_iters=2',
        'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
        fresh=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir, done.stdout + done.stderr


def test_train(trained):
    work_dir, log = trained
    assert (work_dir / 'iter_2.pth').is_file()
    assert (work_dir / 'upernet_replknet-tiny_shapes.py').is_file()
    assert 'mIoU' in log
    assert 'large-kernel backends on' in log
    assert 'mmcv operators: ' in log
    assert 'total batch size 2 (1 x 2), the recipe assumes 8' in log
    assert (
        '2 iterations, 4 samples in all: 0.25 of an epoch of 16 images;'
    ) in log
    assert '16 samples by the recipe' in log


def noise(log):
    """Lines that nobody can act on, but for one of how tests start tools."""
    words = (
        *('OneDL', 'paramwise_options', 'FileClient', 'prefix is', 'Warning:'),
        *('Loads checkpoint by', 'save_param_scheduler'),
    )
    return [
        line
        for line in log.splitlines()
        if any(word in line for word in words) and 'start method' not in line
    ]


def test_nothing_is_said_that_nobody_can_act_on(trained):
    work_dir, log = trained
    assert noise(log) == []
    # the file has it all
    file = next(work_dir.glob('2*/2*.log')).read_text()
    assert 'paramwise_options -- backbone' in file
    assert re.search(r'\[2/2\] .* eta: .* memory: \d+ .* grad_norm: ', log)
    # two images instead of eight: a quarter of the learning rate
    assert 'Scaling the original LR by 0.25' in log
    lines = (next(work_dir.glob('2*/vis_data/scalars.json'))).read_text()
    losses = [json.loads(line).get('loss') for line in lines.splitlines()]
    assert np.isfinite([x for x in losses if x is not None]).all()


def test_log_begins_with_what_was_asked_for(trained, shapes_root):
    work_dir, log = trained
    file = next(work_dir.glob('2*/2*.log'))
    for text in (log, file.read_text()):
        facts = dict(
            line.strip().split(': ', 1)
            for line in text[text.index('    command: ') :].splitlines()[:9]
        )
        assert len(text[: text.index('    command: ')].splitlines()) <= 3
        assert f'--work-dir {work_dir}' in facts.pop('command')
        assert facts.pop('device').startswith(('CPU, ', 'NVIDIA'))
        assert facts.pop('log').startswith(str(file.parent))
        assert facts == {
            'config': str(CONFIG),
            'model': 'EncoderDecoder with mmrep.RepLKNet',
            'data': f'BaseSegDataset in {shapes_root} (train, val, test)',
            'weights': 'random',
            'seed': '0',
            'work dir': str(work_dir),
        }
    # what comes before the first iteration; the file has the rest
    start = log[: log.index('Iter(train)')]
    assert len(start.splitlines()) < 30, start
    assert 'System environment' in file.read_text()
    assert 'train_pipeline' in file.read_text()


def test_resume(run_tool, trained, shapes_root, tmp_path):
    work_dir = shutil.copytree(trained[0], tmp_path / 'work')
    # last_checkpoint names one by an absolute path; the folder has moved
    done = run_tool(
        TRAIN, CONFIG, '--work-dir', work_dir, '--data-root', shapes_root,
        '--resume', '--cfg-options', *SMALL, 'train_cfg.max_iters=3',
        'train_cfg.val_interval=3', 'train_dataloader.batch_size=1',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'resumed epoch: 0, iter: 2' in log
    assert 'Iter(train) [3/3]' in log and 'Iter(train) [1/3]' not in log


@pytest.mark.parametrize('aug_test', sweep([False, True]))
def test_test(run_tool, trained, shapes_root, tmp_path, aug_test):
    work_dir, _ = trained
    done = run_tool(
        TEST, CONFIG, work_dir / 'iter_2.pth', '--data-root', shapes_root,
        '--work-dir', tmp_path, '--show-dir', tmp_path / 'pictures',
        '--out', tmp_path / 'labels', *(['--aug-test'] if aug_test else []),
        '--cfg-options', *SMALL,
        # of a training, whose data a test does not need
        'train_dataloader.dataset.data_root=/nowhere',
        'custom_hooks=[dict(type="mmengine.EarlyStoppingHook",monitor="mIoU")]',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'triangle' in log and 'mIoU' in log
    assert noise(log) == []
    images = sorted((shapes_root / 'images/validation').iterdir())
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [p.name for p in pictures] == [f'{p.stem}.png' for p in images]
    # as tools/image_demo.py draws: half image, half colours, and a legend
    drawn = cv2.imread(str(pictures[0]))[:64, :64].astype(int)
    blended = drawn - cv2.imread(str(images[0])) * 0.5
    assert -1 <= blended.min() and blended.max() <= 128.5
    labels = sorted((tmp_path / 'labels').iterdir())
    assert len(labels) == 6
    label = cv2.imread(str(labels[0]), cv2.IMREAD_UNCHANGED)
    # labels are written as they are read: 1 to 7, 0 is ignored
    assert label.shape == (64, 64) and 1 <= label.min() <= label.max() <= 7


@pytest.mark.slow
@pytest.mark.parametrize('aug_test', [False, True])
def test_half_precision(run_tool, small_segmentor, tmp_path, aug_test):
    found = []
    for amp in ([], ['--amp', 'bf16']):
        done = run_tool(
            TEST, *small_segmentor, '--work-dir', tmp_path, *amp,
            *(['--aug-test'] if aug_test else []),
        )  # fmt: skip
        log = done.stdout + done.stderr
        assert done.returncode == 0, log[-3000:]
        found.append(re.findall(r'aAcc: ([\d.]+).*mIoU: ([\d.]+)', log)[-1])
    difference = np.abs(np.subtract(*np.array(found, float)))
    assert 0 < difference.max() < 5


def test_mean_iou_is_that_of_the_label_maps(
    run_tool, trained, shapes_root, tmp_path
):
    """The metric, computed here from the files that --out wrote."""
    work_dir, _ = trained
    done = run_tool(
        TEST, CONFIG, work_dir / 'iter_2.pth', '--data-root', shapes_root,
        '--work-dir', tmp_path, '--out', tmp_path / 'labels',
        '--cfg-options', *SMALL, 'model.backbone.init_cfg.type=Pretrained',
        # what the training started from is not needed any more
        'model.backbone.init_cfg.checkpoint=/nowhere.pth',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads(next(tmp_path.glob('2*/2*.json')).read_text())
    confusion = np.zeros((8, 8))
    for path in (tmp_path / 'labels').iterdir():
        truth = shapes_root / 'annotations/validation' / path.name
        np.add.at(
            confusion,
            tuple(cv2.imread(str(p), 0).ravel() for p in (truth, path)),
            1,
        )
    confusion = confusion[1:, 1:]
    hits = confusion.diagonal()
    iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    assert metrics['mIoU'] == pytest.approx(100 * np.nanmean(iou), abs=0.01)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_help(run_tool, tool):
    done = run_tool(ROOT / 'tools' / tool, '--help')
    assert done.returncode == 0
    assert '--cfg-options' in done.stdout and '--launcher' in done.stdout


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def crafted(path, trap):
    torch.save(dict(state_dict={}, extra=Payload(str(trap))), path)


def error_of(done):
    """The only line of an error; there must be no traceback."""
    assert done.returncode != 0
    assert 'Traceback' not in done.stderr, done.stderr
    return next(x for x in done.stderr.splitlines() if 'error: ' in x)


WRONG = [
    (['--data-root', '/nowhere'], "'/nowhere/images/training'"),
    (['--resume', '/nowhere.pth'], "got '/nowhere.pth'"),
    (['--cfg-options', 'trian_cfg.x=1'], "did you mean 'train_cfg'"),
    (['--launcher', 'pytorch'], 'tools/dist_train.sh'),
    (
        ['--cfg-options', 'model.backbone.deploy=True'],
        'must be in training form, but is in deploy form',
    ),
    (
        ['--cfg-options', 'model.backbone.depth=3'],
        "unexpected keyword argument 'depth'; it is misspelt, or comes from a "
        'base: then write _delete_=True beside the type (log_level=DEBUG',
    ),
    (
        ['--cfg-options', 'optim_wrapper.optimizer.type=Adamm'],
        'Adamm',
    ),
    (
        ['--cfg-options', 'train_dataloader.dataset.img_suffix=.tif'],
        'found no images',
    ),
    (['--cfg-options', 'foo'], 'takes KEY=VALUE'),
    (['--work-dir', __file__], 'work_dir must be a folder that can be'),
    (
        ['--cfg-options', 'model.decode_head.in_index=[0,1,2]'],
        'cannot be built (model.decode_head): AssertionError: assert len(',
    ),
    (
        ['--cfg-options', 'load_from=/nowhere.pth'],
        "got '/nowhere.pth'",
    ),
    (
        [
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            'model.backbone.init_cfg.checkpoint=/nowhere.pth',
        ],
        "the pretrained weights '/nowhere.pth' do not exist",
    ),
    (
        ['--cfg-options', 'model.auxiliary_head.in_channels=9'],
        'takes 9 channels but gets 96: in_channels of the neck and of the',
    ),
    (
        [
            '--cfg-options',
            'train_dataloader.dataset.pipeline='
            '[dict(type="LoadImageFromFile"),dict(type="PackSegInputs")]',
        ],
        'must load the labels',
    ),
    (
        [
            *('--cfg-options', 'train_dataloader.batch_size=100'),
            'train_dataloader.drop_last=True',
            'train_cfg=dict(_delete_=True,type="EpochBasedTrainLoop",'
            'max_epochs=1)',
        ],
        'an epoch must have at least one batch',
    ),
    (
        ['--cfg-options', 'model.backbone.init_cfg.checkpoint=None'],
        "must be dict(type='Pretrained', checkpoint=FILE), or None",
    ),
]


@pytest.mark.parametrize('options, text', sweep(WRONG, quick=4, unpack=True))
def test_train_errors(run_tool, shapes_root, tmp_path, options, text):
    done = run_tool(
        TRAIN, CONFIG, '--data-root', shapes_root, '--work-dir',
        tmp_path / 'work', *options,
    )  # fmt: skip
    assert text in error_of(done)


def test_unknown_argument(run_tool):
    done = run_tool(TRAIN, CONFIG, '--reusme')
    assert done.returncode == 2
    assert 'unrecognized arguments: --reusme' in done.stderr


def test_foreign_checkpoint(run_tool, shapes_root, tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.rand(3))), path)
    done = run_tool(
        TEST, CONFIG, path, '--data-root', shapes_root, '--work-dir', tmp_path
    )
    assert 'does not fit the model' in error_of(done)


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_foreign_checkpoint_is_said_before_data_are_read(
    run_tool, shapes_root, tmp_path, tool
):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.rand(3))), path)
    args = [path] if tool == 'test' else []
    start = [f'load_from={path}'] if tool == 'train' else []
    done = run_tool(
        ROOT / f'tools/{tool}.py', CONFIG, *args, '--data-root', shapes_root,
        '--work-dir', tmp_path, '--cfg-options', *start,
        # would be an error, of the data
        f'{tool}_dataloader.dataset.img_suffix=.tif',
    )  # fmt: skip
    assert 'does not fit the model' in error_of(done)


def test_foreign_pretrained_file(run_tool, shapes_root, tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.rand(3))), path)
    done = run_tool(
        TRAIN, CONFIG, '--data-root', shapes_root, '--work-dir', tmp_path,
        '--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={path}',
    )  # fmt: skip
    assert 'is not known' in error_of(done)


def test_batch_sampler(run_tool, shapes_root, tmp_path):
    """MMDetection's configs have one, which hides the batch size."""
    config = tmp_path / 'sampler.py'
    config.write_text(
        f"_base_ = '{CONFIG}'\n"
        'train_dataloader = dict(batch_sampler=dict('
        "type='BatchSampler', drop_last=True))\n"
        'custom_imports = dict(imports=["mmrep", "sampler_of_torch"])\n'
    )
    (tmp_path / 'sampler_of_torch.py').write_text(
        'from mmengine.registry import DATA_SAMPLERS\n'
        'from torch.utils.data import BatchSampler\n'
        'DATA_SAMPLERS.register_module(module=BatchSampler)\n'
    )
    # the user's modules are found beside the script
    script = tmp_path / 'my_train.py'
    script.write_text(
        f"import runpy\nrunpy.run_path('{TRAIN}', run_name='__main__')\n"
    )
    done = run_tool(
        script,
        config, '--data-root', shapes_root, '--work-dir', tmp_path / 'work',
        '--cfg-options', *SMALL, 'train_cfg.max_iters=1',
        'train_cfg.val_interval=9',
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'total batch size 2 (1 x 2)' in log


@pytest.mark.parametrize('how', ['test', 'resume', 'init_cfg'])
def test_crafted_checkpoint(run_tool, shapes_root, tmp_path, how):
    path, trap = tmp_path / 'crafted.pth', tmp_path / 'trap'
    crafted(path, trap)
    common = ['--data-root', shapes_root, '--work-dir', tmp_path / 'work']
    if how == 'test':
        done = run_tool(TEST, CONFIG, path, *common)
    elif how == 'resume':
        done = run_tool(TRAIN, CONFIG, *common, '--resume', path)
    else:
        done = run_tool(
            TRAIN, CONFIG, *common, '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            f'model.backbone.init_cfg.checkpoint={path}',
        )  # fmt: skip
    assert '--trust-checkpoint' in error_of(done)
    assert not trap.exists()
    if how == 'test':
        run_tool(TEST, CONFIG, path, *common, '--trust-checkpoint')
        assert trap.exists(), 'the file must be one that runs code'


def test_aug_test_without_pipeline(run_tool, tmp_path, shapes_root):
    config = tmp_path / 'plain.py'
    config.write_text(f"_base_ = '{CONFIG}'\ntta_pipeline = None\n")
    done = run_tool(
        TEST, config, 'x.pth', '--data-root', shapes_root, '--aug-test'
    )
    assert '--aug-test needs tta_pipeline' in error_of(done)


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train',
                                  'slurm_test'])  # fmt: skip
def test_launcher_usage(run_tool, name):
    done = run_tool(ROOT / f'tools/{name}.sh')
    assert done.returncode == 2
    assert 'usage:' in done.stderr and 'CONFIG' in done.stderr


@pytest.mark.parametrize(
    'name, more', [('dist_train', []), ('dist_test', ['x.pth'])]
)
def test_number_of_processes(tmp_path, name, more):
    """A stand-in for Python, at a path with a space, prints its arguments."""
    python = tmp_path / 'my env/python'
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    def run(*args):
        return subprocess.run(
            ['bash', ROOT / f'tools/{name}.sh', CONFIG, *more, *args],
            env={**os.environ, 'PYTHON': str(python)},
            capture_output=True,
            text=True,
        )

    for word in ('2', '16', 'gpu', 'cpu', 'auto'):
        done = run(word, '--work-dir', 'w')
        assert done.returncode == 0, done.stderr
        words = done.stdout.splitlines()
        assert f'--nproc_per_node={word}' in words and '--work-dir' in words
    for args in (['--work-dir', 'w'], ['0'], ['-1'], ['2x'], ['']):
        done = run(*args)
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith('usage:') and 'GPUS' in done.stderr


@pytest.mark.parametrize(
    'name, more', [('slurm_train', []), ('slurm_test', ['x.pth'])]
)
def test_slurm_command(tmp_path, monkeypatch, run_tool, name, more):
    """What srun is asked for, with a stand-in that prints its arguments."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('GPUS', '16')
    monkeypatch.setenv('SRUN_ARGS', '--nodes=2 --time=1')
    done = run_tool(
        ROOT / f'tools/{name}.sh', 'gpu', 'my job', CONFIG, *more, '--amp'
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    for word in ('-p', 'gpu', '--job-name=my job', '--gres=gpu:8',
                 '--ntasks=16', '--ntasks-per-node=8', '--nodes=2',
                 '--time=1', str(CONFIG), '--amp'):  # fmt: skip
        assert word in words, words
    assert words[words.index('--launcher') + 1] == 'slurm'
    assert words.index('--time=1') < words.index('-u')
