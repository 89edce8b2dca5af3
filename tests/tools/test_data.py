"""``mmrep data``: what a user with own pictures types, and what it says."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import own_sets
import processes
import pytest
from PIL import Image
from sweep import sweep

from mmrep.analysis import data_report
from mmrep.analysis.data_report import DataReport
from mmrep_cli.arguments import stop_text

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/data.py'


@pytest.fixture(scope='module')
def own(tmp_path_factory, run_tool):
    """Converted sets, each with the config that was written for it."""
    folder = tmp_path_factory.mktemp('own')
    own_sets.make_voc(folder / 'voc')
    own_sets.make_masks(folder / 'masks', 'palette')
    for form in ('voc', 'masks'):
        done = run_tool(
            TOOL, 'convert', form, folder / form, folder / f'my_{form}'
        )
        assert done.returncode == 0, done.stderr
        assert '12 pictures (' in done.stdout
        done = run_tool(
            TOOL,
            'new-config',
            folder / f'my_{form}',
            '--model',
            'replknet-tiny',
            '--epochs',
            '1',
            '--batch-size',
            '2',
            '--out',
            folder / f'{form}.py',
        )
        assert done.returncode == 0 and 'scale' in done.stderr
        assert not done.stdout
    return folder


def test_a_config_is_not_overwritten(own, run_tool):
    text = (own / 'voc.py').read_text()
    done = run_tool(
        TOOL, 'new-config', own / 'my_voc', '--out', own / 'voc.py'
    )
    assert done.returncode == 1 and (own / 'voc.py').read_text() == text
    assert '--out must be a new file' in done.stderr
    done = run_tool(
        TOOL, 'new-config', own / 'my_voc', '--out', own / 'voc.txt'
    )
    assert done.returncode == 1 and '--out must end in .py' in done.stderr


def test_a_config_that_cannot_be_written_leaves_no_file(run_tool, tmp_path):
    out = tmp_path / 'my.py'
    done = run_tool(TOOL, 'new-config', tmp_path / 'none', '--out', out)
    assert done.returncode == 1 and not out.exists()


@pytest.mark.slow
def test_config_trains(own, run_tool, tmp_path):
    """The config runs as it was written, but for the size of the model."""
    done = run_tool(
        ROOT / 'tools/train.py',
        own / 'masks.py',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.backbone.arch.depths=[1,1,1,1]',
        'model.backbone.arch.kernel_sizes=[5,5,5,5]',
        'model.backbone.arch.channels=[8,8,8,8]',
        'model.decode_head.in_channels=[8,8,8,8]',
        'model.auxiliary_head.in_channels=8',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob('iter_*.pth'))


@pytest.mark.parametrize('form', sweep(['voc', 'masks']))
def test_check(form, own, run_tool):
    done = run_tool(TOOL, 'check', own / f'{form}.py')
    assert done.returncode == 0, done.stderr
    assert 'no error' in done.stdout
    # train has several, val and test one each
    assert len(re.findall(r'pictures? of 64x48', done.stdout)) == 3
    # each class, in each loader
    name = 'dog' if form == 'voc' else 'class_2'
    assert done.stdout.count(f'\n  {name} ') == 3


def test_check_finds(own, run_tool, tmp_path):
    """A picture in two splits, a box twice, and an error with status 1."""
    shutil.copytree(own / 'my_voc', tmp_path / 'voc')
    text = (own / 'voc.py').read_text()
    config = tmp_path / 'my.py'
    config.write_text(text.replace(str(own / 'my_voc'), str(tmp_path / 'voc')))
    images = tmp_path / 'voc/images'
    [val, *_] = sorted((images / 'val').iterdir())
    [train, *_] = sorted((images / 'train').iterdir())
    shutil.copyfile(val, train)
    path = tmp_path / 'voc/annotations/train.json'
    content = json.loads(path.read_text())
    last = content['images'][-1]['id']
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] != last
    ]
    path.write_text(json.dumps(content))
    path = tmp_path / 'voc/annotations/val.json'
    path.write_text(path.read_text().replace('"dog"', '"cow"'))
    done = run_tool(TOOL, 'check', config)
    assert done.returncode == 1
    assert 'train_dataloader and val_dataloader share pictures (1)' in (
        done.stdout
    )
    assert ', 1 skipped by filter_cfg' in done.stdout
    [line] = done.stderr.strip().splitlines()[-1:]
    assert (
        line.startswith('error: the classes of the config') and 'cow' in line
    )


@pytest.mark.parametrize('cut', [False, True])
@pytest.mark.parametrize('form', sweep(['voc', 'masks']))
def test_check_finds_pictures_that_cannot_be_read(
    form, cut, own, run_tool, tmp_path
):
    shutil.copytree(own / f'my_{form}', tmp_path / 'data')
    text = (own / f'{form}.py').read_text()
    config = tmp_path / 'my.py'
    config.write_text(
        text.replace(str(own / f'my_{form}'), str(tmp_path / 'data'))
    )
    paths = [p for p in (tmp_path / 'data/images').rglob('*') if p.is_file()]
    for path in paths:
        # OpenCV reads a file without its end, and fills the rest with grey
        path.write_bytes(path.read_bytes()[:-50] if cut else b'hi')
        assert (cv2.imread(str(path)) is not None) == cut
    done = run_tool(TOOL, 'check', config)
    assert done.returncode == 1
    assert f'{len(paths)} pictures cannot be read or lack' in done.stderr
    assert done.stderr.count('error: ') == 1  # there is one cause
    assert 'share pictures' not in done.stdout


@pytest.mark.parametrize('form', sweep(['voc', 'masks']))
def test_show(form, own, run_tool, tmp_path):
    out = tmp_path / 'sheet.png'
    done = run_tool(
        TOOL, 'show', own / f'{form}.py', '--out', out, '--number', '4'
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{out} has 4 samples\n'
    pixels = np.asarray(Image.open(out).convert('RGB')).astype(int)
    colour = [255, 38, 38] if form == 'voc' else [128, 0, 0]
    # the legend, and the objects
    assert (pixels == colour).all(-1).sum() > 100
    again = tmp_path / 'again.png'
    run_tool(TOOL, 'show', own / f'{form}.py', '--out', again, '--number', '4')
    assert again.read_bytes() == out.read_bytes()


def test_sheet_of_test_samples_has_boxes_in_place(own, run_tool, tmp_path):
    """Behind a test pipeline labels are those of the file."""
    out = tmp_path / 'sheet.png'
    done = run_tool(
        TOOL,
        'show',
        own / 'voc.py',
        '--loader',
        'val',
        '--number',
        '1',
        '--out',
        out,
    )
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(out).convert('RGB')).astype(int)
    lit = np.argwhere(pixels.max(-1) - pixels.min(-1) > 150)
    assert len(lit)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['convert', 'voc', 'absent', 'out'], 'must be a folder'),
        (
            ['convert', 'voc', '.', 'out', '--palette', 'x'],
            "the format 'masks'",
        ),
        (
            ['convert', 'masks', '.', 'out', '--to', 'coco'],
            'only become label maps',
        ),
        (['convert', 'voc', '.', 'out', '--split', '0', '1', '1'], 'above 0'),
        (['convert', 'voc', '.', 'out', '--split', '1', '1', 'x'], 'invalid'),
        (['convert', 'pascal', '.', 'out'], 'invalid choice'),
        (['new-config', 'absent'], 'must be a folder'),
        (['check', 'absent.py'], 'is not a file'),
        (['show', str(ROOT / 'configs/fcos_replknet-tiny_bccd.py')], '--out'),
        (['show', 'a.py', '--seed', '-1'], 'must be 0 or more, got -1'),
    ],
)
def test_wrong_input(arguments, text, run_tool, tmp_path):
    done = run_tool(TOOL, *arguments, cwd=tmp_path)
    assert done.returncode and not done.stdout
    assert text in done.stderr.strip().splitlines()[-1]
    assert 'Traceback' not in done.stderr and not list(tmp_path.iterdir())


def end_while_copying(argv):
    """What a process does that gets SIGTERM while it writes."""
    copy = shutil.copyfile

    def copy_and_end(*args):
        copy(*args)
        os.kill(os.getpid(), signal.SIGTERM)

    shutil.copyfile = copy_and_end
    processes.run_script(argv)


def test_a_conversion_that_is_ended_leaves_nothing(tmp_path):
    own_sets.make_voc(tmp_path / 'src')
    argv = [TOOL, 'convert', 'voc', tmp_path / 'src', tmp_path / 'out']
    log = tmp_path / 'log'
    process = processes.start(argv, log, log, run=end_while_copying)
    process.join(100)
    assert process.exitcode == 143, log.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {'src', 'log'}


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_an_interrupt_during_imports_is_one_line(name, tmp_path):
    (tmp_path / 'mmrep').mkdir()
    (tmp_path / 'mmrep/__init__.py').write_text(
        f'import os, signal\nos.kill(os.getpid(), signal.{name})\n'
    )
    done = subprocess.run(
        [sys.executable, TOOL, 'convert', 'voc', 'a', 'b'],
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'},
        capture_output=True,
        text=True,
    )
    number = getattr(signal, name)
    assert done.returncode == 128 + number
    assert done.stderr == f'error: {stop_text(number)}\n'


def test_pictures_that_look_the_same(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (4, 12, 16, 3), np.uint8)
    one, other, third, grey = (
        cv2.resize(x, (640, 480), interpolation=cv2.INTER_CUBIC) for x in small
    )
    grey[:] = 7
    paths = {}
    for name, image in dict(
        train=one, mine=other, grey=grey, val=third
    ).items():
        paths[name] = str(tmp_path / f'{name}.png')
        cv2.imwrite(paths[name], image)
    paths['copy'] = str(tmp_path / 'copy.jpg')
    quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
    cv2.imwrite(paths['copy'], cv2.resize(one, (200, 150)), quality)
    report = DataReport()
    files = {
        'train_dataloader': [paths[n] for n in ('train', 'mine', 'grey')],
        'val_dataloader': [paths[n] for n in ('val', 'copy')],
        'test_dataloader': [paths['mine']],
    }
    data_report._find_copies(report, files)
    alike, shared = sorted(report.notes, key=lambda note: 'share' in note)
    assert alike.startswith(
        'train_dataloader and val_dataloader have pictures that look the same '
        '(1)'
    )
    assert alike.endswith(f'e.g. {paths["train"]} and {paths["copy"]}')
    assert 'train_dataloader and test_dataloader share pictures (1)' in shared
