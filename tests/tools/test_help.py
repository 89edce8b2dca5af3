"""``--help`` of every tool: at once, without what takes seconds to import."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmrep.analysis.inference import FORMS
from mmrep.analysis.throughput import BASELINES, SWITCHES
from mmrep.data.convert import FORMS as LABEL_FORMS
from mmrep.deploy.export import OPSET
from mmrep.deploy.whole import INPUTS, MASKS
from mmrep.engine.new_config import METHODS

TOOLS = Path(__file__).parents[2] / 'tools'
SCRIPTS = [p for p in TOOLS.rglob('*.py') if '__main__' in p.read_text()]
# the script does not get as far as importing these
CODE = """
import runpy, sys
sys.modules.update(torch=None, mmengine=None, cv2=None)
script = sys.argv[1]
sys.argv = [script, *sys.argv[2:]]
runpy.run_path(script, run_name='__main__')
"""


def call(script, *args):
    return subprocess.run(
        [sys.executable, '-c', CODE, script, *args],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    'script', [str(p.relative_to(TOOLS)) for p in SCRIPTS]
)
def test_nothing_is_imported(script):
    done = call(TOOLS / script, '--help')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage: ') and not done.stderr
    done = call(TOOLS / script, '--no-such-option')
    assert done.returncode == 2 and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'script, words',
    [
        ('export.py', [*INPUTS, *MASKS, f'(default: {OPSET})']),
        ('benchmarks/benchmark_model.py', [*FORMS, *BASELINES, *SWITCHES]),
        ('data.py convert', LABEL_FORMS),
        ('data.py new-config', METHODS),
    ],
)
def test_choices_are_those_of_the_package(script, words):
    name, *subcommand = script.split()
    text = call(TOOLS / name, *subcommand, '--help').stdout
    text = ' '.join(text.split())
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    'command, name',
    [
        ('test.py x x --show-dir', '--show-dir'),
        ('test.py x x --report', '--report'),
        ('test.py x x --out', '--out'),
        ('train.py x --work-dir', '--work-dir'),
        ('image_demo.py', 'image'),
        ('data.py convert coco x', 'out'),
        ('plot.py', 'RUN'),
        ('dataset_converters/make_shapes.py', 'out'),
        ('benchmarks/benchmark_backbones.py --out', '--out'),
    ],
)
def test_empty_argument(command, name):
    """As of a variable that the shell does not have."""
    script, *arguments = command.split()
    done = call(TOOLS / script, *arguments, '')
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert line.endswith(f'error: argument {name}: must not be empty')
