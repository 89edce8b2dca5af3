"""Every command of docs/own_data.md runs, on small pictures."""

import os
import subprocess
import sys

import own_sets
import pytest
from PIL import Image

from .pages import ROOT, blocks

# A schedule of 300 epochs would take hours, one shows as much.
SHIM = """#!/bin/sh
if [ "$2" = new-config ]; then set -- "$@" --epochs 1 --batch-size 4; fi
exec {python} -m mmrep "$@"
"""


@pytest.mark.slow
def test_page(tmp_path):
    folder = tmp_path / 'here'
    folder.mkdir()
    own_sets.make_voc(folder / 'cells_voc')
    own_sets.make_masks(folder / 'streets_masks')
    (folder / 'pages_labelme').mkdir()
    own_sets.make_labelme(folder / 'pages_labelme')
    (folder / 'palette.txt').write_text(
        '128 0 0 road\n0 128 0 car\n0 0 0 void\n'
    )
    shim = tmp_path / 'bin/mmrep'
    shim.parent.mkdir()
    shim.write_text(SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    env = dict(
        os.environ,
        PATH=f'{shim.parent}:{os.environ["PATH"]}',
        PYTHONPATH=str(ROOT),
    )
    found = [
        block
        for block in blocks(ROOT / 'docs/own_data.md')
        if block.language == 'bash'
    ]
    # '--model', '--out', '--palette', '--out-dir', '--to'
    assert len(found) == 5
    for block in found:
        done = subprocess.run(
            ['bash', '-ec', block.code],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f'{block.where}\n{done.stderr[-3000:]}'
    for name in ('cells', 'streets'):
        assert (folder / f'{name}.onnx').is_file()
        assert len(list((folder / f'{name}_drawn').iterdir())) >= 1
        Image.open(folder / f'{name}.png').verify()
    for name in ('streets_named', 'pages'):
        assert (folder / name / 'palette.txt').is_file()
