"""Every command of docs/own_data.md runs, on small pictures."""

import re
import shlex

import own_sets
import pytest
from PIL import Image

from mmrep_cli import COMMANDS

from .pages import ROOT, blocks


def lines() -> list:
    """The commands of the page."""
    return [
        line
        for block in blocks(ROOT / 'docs/own_data.md')
        if block.language == 'bash'
        for line in block.code.splitlines()
        if line
    ]


@pytest.mark.slow
def test_page(tmp_path, run_tool):
    own_sets.make_voc(tmp_path / 'cells_voc')
    own_sets.make_masks(tmp_path / 'streets_masks')
    (tmp_path / 'pages_labelme').mkdir()
    own_sets.make_labelme(tmp_path / 'pages_labelme')
    (tmp_path / 'palette.txt').write_text(
        '128 0 0 road\n0 128 0 car\n0 0 0 void\n'
    )

    def contents(found) -> str:
        return (tmp_path / found[1]).read_text().strip()

    # '--model', '--out', '--palette', '--out-dir', '--to'
    assert len(lines()) == 18
    for line in lines():
        command = re.sub(r'\$\(cat ([^)]+)\)', contents, line)
        name, tool, *arguments = shlex.split(command)
        assert name == 'mmrep'
        if arguments[0] == 'new-config':
            # 300 epochs would take hours, and one shows as much
            arguments += ['--epochs', '1', '--batch-size', '4']
        script = ROOT / 'tools' / COMMANDS[tool]
        done = run_tool(script, *arguments, cwd=tmp_path, timeout=900)
        assert done.returncode == 0, f'{line}\n{done.stderr[-3000:]}'
    for name in ('cells', 'streets'):
        assert (tmp_path / f'{name}.onnx').is_file()
        assert len(list((tmp_path / f'{name}_drawn').iterdir())) >= 1
        Image.open(tmp_path / f'{name}.png').verify()
    for name in ('streets_named', 'pages'):
        assert (tmp_path / name / 'palette.txt').is_file()
