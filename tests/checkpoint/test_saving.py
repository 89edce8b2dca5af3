from pathlib import Path

import pytest
import torch

from mmrep.checkpoint.saving import replaced, save
from mmrep.errors import UsageError


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / 'folder' / 'a.txt'
    with replaced(path) as partial:
        partial.write_text('one')
        assert not path.exists()
    assert path.read_text() == 'one'
    with pytest.raises(KeyError), replaced(path) as partial:
        partial.write_text('two')
        raise KeyError
    assert path.read_text() == 'one'
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'a.pth'
    with pytest.raises(UsageError, match='a.pth cannot be written: '):
        with replaced(path) as partial:
            save({}, partial)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_is_named():
    with pytest.raises(OSError, match='No space left'):
        save(dict(a=torch.zeros(3)), Path('/dev/full'))
