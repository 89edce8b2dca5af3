"""What MkDocs does with our pages beyond its own.

The README is the home page, CONTRIBUTING.md and the pages of projects/ are
pages too, and pages link to files of the repository as on GitHub
(``../configs/x.py``). The site gets copies of these files, as text, so that
such links work there too and a broken one fails the build.
"""

import ast
import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger('mkdocs.hooks')
ROOT = Path(__file__).parents[1]
SOURCES = (
    'configs',
    'projects',
    'tools',
    'tests',
    'requirements',
    'LICENSE',
    'CONTRIBUTING.md',
)
# Pages, and what browsers show as it is.
SHOWN = ('.json', '.jsonl', '.md', '.png', '.svg', '.txt')


def on_config(config: Any) -> None:
    """Give each page its link to edit, if the repository is known."""
    if config.repo_url:
        config.edit_uri = 'edit/main/'


def on_files(files: Files, config: Any) -> Files:
    """Add the README, and the files that pages may link to."""
    for file in files:
        file.edit_uri = f'docs/{file.src_uri}'
    readme = (ROOT / 'README.md').read_text()
    home = File.generated(
        config, 'index.md', content=readme.replace('](docs/', '](')
    )
    home.edit_uri = 'README.md'
    files.append(home)
    for source in SOURCES:
        for path in (ROOT / source, *sorted((ROOT / source).rglob('*'))):
            if path.is_file() and path.suffix != '.pyc':
                files.append(_copy(path, config))
    return files


def _copy(path: Path, config: Any) -> File:
    """A page, or a file that browsers show instead of saving it."""
    name = path.relative_to(ROOT).as_posix()
    file = File.generated(config, name, abs_src_path=str(path))
    if path.suffix not in SHOWN:
        file.dest_uri += '.txt'
    file.edit_uri = name
    return file


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links out of docs/ to the copies, and those of projects/ to docs/.

    What is in docs/ lies beside the copies on the site. The home page, the
    only one of its group, has no list of pages beside it.
    """
    if page.is_homepage:
        page.meta['hide'] = ['navigation']
    if page.file.src_uri.startswith('projects/'):
        return re.sub(r'\]\(((\.\./)+)docs/', r'](\1', markdown)
    markdown = markdown.replace('](../README.md', '](index.md')
    sources = '|'.join(SOURCES)
    return re.sub(rf'\]\(\.\./(?=({sources})\b)', '](', markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Check that a reference is whole, and leave out docstrings' roles."""
    folder, _, name = page.file.src_uri.rpartition('/')
    if folder == 'api' and name != 'index.md':
        for public in _public_names(name.removesuffix('.md')):
            if f'.{public}"' not in html:
                LOG.warning(f'{page.file.src_uri} does not have {public}.')
    return re.sub(r':(?:class|func|meth|mod):(?=<code>)', '', html)


def _public_names(page: str) -> list:
    module = ROOT / ('mmrep_cli' if page == 'mmrep_cli' else f'mmrep/{page}')
    file = module / '__init__.py' if module.is_dir() else f'{module}.py'
    tree = ast.parse(Path(file).read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '__all__':
            return ast.literal_eval(node.value)
    raise ValueError(f'{module.name} must have a literal __all__.')
