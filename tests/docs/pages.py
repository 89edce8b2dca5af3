"""What the README and the pages of docs/ and projects/ tell to run."""

import re
import shlex
from pathlib import Path
from typing import Iterator, List, NamedTuple

import torch
from mmengine.registry import MODELS

from mmrep_cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'projects').rglob('*.md')),
]
# part of model_zoo.md
PAGES.remove(ROOT / 'docs/model_zoo.in.md')
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.M | re.S)
INLINE = re.compile(r'`([^`\n]+)`')


class Block(NamedTuple):
    """A fenced block."""

    where: str  # page and line
    language: str
    code: str


class Command(NamedTuple):
    """A command of a bash block."""

    where: str
    words: List[str]  # without the variables in front
    variables: List[str]
    needs: bool  # a comment says what it takes beyond the repository


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    for found in FENCE.finditer(text):
        line = text.count('\n', 0, found.start()) + 1
        yield Block(f'{name}:{line}', *found.groups())


def inline_code(page: Path) -> Iterator[str]:
    """What stands between single backticks."""
    yield from INLINE.findall(FENCE.sub('', page.read_text()))


def commands(block: Block) -> Iterator[Command]:
    """The commands of a bash block, those of mmrep as their scripts.

    ``# needs ...`` on a line of its own holds until an empty line, behind a
    command for that command.
    """
    needs = False
    for line in block.code.replace('\\\n', ' ').splitlines():
        if not line.strip() or line.startswith('# needs '):
            needs = line.startswith('# needs ')
        for part in line.split(' && '):
            words = shlex.split(part, comments=True)
            variables = [w for w in words if re.match(r'[A-Z_]+=', w)]
            words = words[len(variables) :]
            if '>' in words:  # into a file
                words = words[: words.index('>')]
            if words[:1] in (['mmrep'], ['torchrun']):
                at = words.index('mmrep') + 1
                script = COMMANDS[words[at]]
                words = ['python', f'tools/{script}', *words[at + 1 :]]
            if words:
                marked = needs or 'needs ' in line.partition('#')[2]
                yield Command(block.where, words, variables, marked)


def build_backbone(model: dict) -> None:
    """Build the backbone of a config, which refuses unknown arguments."""
    backbone = dict(model.get('backbone') or {})
    backbone.pop('_delete_', None)
    if 'type' in backbone:
        with torch.device('meta'):
            MODELS.build(backbone)
