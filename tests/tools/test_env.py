"""Test tools/env.py."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from mmrep.version import __version__

ENV = Path(__file__).parents[2] / 'tools/env.py'


def test_facts(run_tool):
    done = run_tool(ENV)
    assert done.returncode == 0, done.stderr
    facts = dict(
        line.split(': ', 1)
        for line in done.stdout.splitlines()
        if not line.startswith(' ')
    )
    # what is installed; torch.__version__ may have the build behind a +
    assert facts['torch'] == importlib.metadata.version('torch')
    assert facts['mmrep'].startswith(f'{__version__} (commit ')
    assert 'native' in facts['large-kernel backends']
    assert facts['mmcv operators'].startswith(('not compiled', 'compiled'))
    assert len(done.stdout.splitlines()) < 40


def test_broken_package():
    """The rest is printed, and the error in the place of what needs it."""
    code = (
        'import runpy, sys; sys.modules.update(torch=None); '
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, ENV], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 'large-kernel backends: ModuleNotFoundError: ' in done.stdout
    assert 'mmengine: 0.' in done.stdout
