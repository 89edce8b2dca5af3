"""Whether mmrep is imported where modules of other systems are absent."""

import subprocess
import sys

import pytest

WINDOWS = """
import sys
sys.modules.update(resource=None, fcntl=None)
import mmrep.apis
import mmrep.engine
from mmrep.runner.work_dir import WorkDirLock
WorkDirLock(sys.argv[1]).release()
"""


@pytest.mark.slow
def test_without_the_modules_of_unix(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', WINDOWS, tmp_path / 'work'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_registries_import_what_registers_in_them():
    """A name is found in a new process that imported mmrep alone."""
    code = (
        'import mmrep; from mmrep.registry import MODELS; '
        "assert MODELS.get('ExportedModel') is not None"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
