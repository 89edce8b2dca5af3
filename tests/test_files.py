import errno
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmrep.errors import UsageError
from mmrep.files import (
    WriteError,
    is_full,
    new_folder,
    partial_path,
    remove_remains,
    replaced,
    torch_save,
    write_json,
)


@pytest.mark.parametrize(
    'number, full',
    [(errno.ENOSPC, True), (errno.EFBIG, True), (errno.EACCES, False)],
)
def test_is_full(number, full):
    assert is_full(OSError(number, 'reason')) == full


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('flush', [False, True])
def test_a_file_is_whole_or_not_there(tmp_path, flush):
    path = tmp_path / 'folder' / 'a.txt'
    with replaced(path, flush) as partial:
        assert partial.suffix == '.txt'
        partial.write_text('one')
        assert not path.exists()
    assert path.read_text() == 'one'
    with pytest.raises(KeyError), replaced(path, flush) as partial:
        partial.write_text('two')
        raise KeyError
    assert path.read_text() == 'one'
    assert names_in(path.parent) == ['a.txt']


@pytest.mark.parametrize('flush', [False, True])
def test_a_folder_is_whole_or_not_there(tmp_path, flush):
    path = tmp_path / 'data'
    for text in ('one', 'two'):
        with replaced(path, flush) as partial:
            partial.mkdir()
            (partial / f'{text}.txt').write_text(text)
        assert names_in(path) == [f'{text}.txt']
    with pytest.raises(KeyError), replaced(path, flush) as partial:
        (partial / 'deep').mkdir(parents=True)
        raise KeyError
    assert names_in(path) == ['two.txt'] and names_in(tmp_path) == ['data']


def test_a_new_folder(tmp_path):
    path = tmp_path / 'deep/data'
    with pytest.raises(KeyError), new_folder(path):
        raise KeyError
    assert names_in(path.parent) == []
    with new_folder(path) as folder:
        (folder / 'a.txt').touch()
        assert not path.exists()
    assert names_in(path) == ['a.txt']
    with pytest.raises(UsageError, match='data must not exist yet'):
        with new_folder(path):
            pass
    assert names_in(path) == ['a.txt']
    with pytest.raises(UsageError, match="must be a path, got ''"):
        with new_folder(''):
            pass


@pytest.mark.parametrize('name', ['x' * 250 + '.png', 'ü' * 125 + '.png'])
def test_a_long_name(tmp_path, name):
    with replaced(tmp_path / name) as partial:
        assert partial.suffix == '.png'
        partial.touch()
    assert names_in(tmp_path) == [name]


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    path = tmp_path / 'a.pth'
    path.mkdir()
    (path / 'of the user').touch()
    with pytest.raises(WriteError, match='a.pth cannot be written: '):
        with replaced(path) as partial:
            partial.touch()
    assert names_in(path) == ['of the user']


def test_what_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'a.pth'
    with pytest.raises(WriteError, match='a.pth cannot be written: '):
        with replaced(path) as partial:
            torch_save({}, partial)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_is_named():
    with pytest.raises(OSError, match='No space left'):
        torch_save(dict(a=torch.zeros(3)), Path('/dev/full'))


def test_json(tmp_path):
    write_json(tmp_path / 'a.json', dict(a=[1, 'ä']))
    assert json.loads((tmp_path / 'a.json').read_text()) == dict(a=[1, 'ä'])


DIES = """
import os, sys
from mmrep.files import replaced
with replaced(sys.argv[1]) as partial:
    partial.write_text('half')
    os.kill(os.getpid(), 9)
"""


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / 'a.onnx'
    done = subprocess.run([sys.executable, '-c', DIES, path])
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith('.partial-') and left.suffix == '.onnx'
    with replaced(tmp_path / 'other.pt2') as partial:
        partial.touch()
    assert names_in(tmp_path) == ['other.pt2']


def test_what_others_write_stays(tmp_path):
    mine = partial_path(tmp_path / 'a.pth').name
    host = mine.split('-', 2)[2].partition('.')[0]
    # of this process, of the first one, of another machine, of another
    # container on this one, of several
    kept = [
        mine,
        f'.partial-1-{host}.a.pth',
        f'.partial-999999999-not-{host}.a.pth',
        f'.partial-999999999-{socket.gethostname()}-4026531835.a.pth',
        '.partial.a.pth',
        '.partially',
    ]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / f'.partial-999999999-{host}.data' / 'deep').mkdir(parents=True)
    remove_remains(tmp_path)
    assert names_in(tmp_path) == sorted(kept)
    remove_remains(tmp_path, shared=True)
    kept.remove('.partial.a.pth')
    assert names_in(tmp_path) == sorted(kept)
