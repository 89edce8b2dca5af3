"""The command ``mmrep``: ``mmrep train CONFIG`` is ``tools/train.py CONFIG``.

A command is a script in tools/, which runs as with ``python tools/train.py``;
``mmrep --help`` shows the first paragraph of its docstring. Scripts whose
first argument is a subcommand (``mmrep data convert``) have their own
subparsers. To add a command, write the script and add it to ``COMMANDS``.

This package is separate from mmrep, because importing mmrep imports torch.
"""

import argparse
import ast
import difflib
import runpy
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import List

from mmrep_cli.arguments import explain_interrupts

__all__ = ['config_names', 'main', 'run_script', 'shipped']

COMMANDS = {
    'data': 'data.py',
    'train': 'train.py',
    'test': 'test.py',
    'plot': 'plot.py',
    'predict': 'image_demo.py',
    'demo': 'demo.py',
    'export': 'export.py',
    'quantize': 'quantize.py',
    'reparameterize': 'reparameterize.py',
    'convert': 'convert_checkpoint.py',
    'flops': 'get_flops.py',
    'erf': 'analysis/erf.py',
    'env': 'env.py',
    'run': 'run.py',
}


def shipped(name: str) -> Path:
    """The folder ``configs``, ``projects`` or ``tools`` of this mmrep.

    An installed package has it in ``mmrep/.mim``, like OpenMMLab's packages; a
    clone has it next to the package.
    """
    package = Path(find_spec('mmrep').origin).parent
    installed = package / '.mim' / name
    return installed if installed.is_dir() else package.parent / name


def config_names() -> List[str]:
    """The names of mmrep's configs, without those of projects."""
    return sorted(path.stem for path in shipped('configs').glob('*.py'))


def main() -> None:
    """Run a command with the arguments after its name."""
    explain_interrupts()
    parser = argparse.ArgumentParser(
        prog='mmrep',
        description='Large-kernel ConvNets for segmentation and detection.',
        epilog=_list_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--version', action='version', version=f'mmrep {_version()}'
    )
    parser.add_argument(
        '--completion',
        action='version',
        version=_completion(),
        help='print the script that makes bash and zsh complete commands and '
        'configs: eval "$(mmrep --completion)"',
    )
    parser.add_argument('command', help='one of the commands below')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='mmrep COMMAND --help'
    )
    args = parser.parse_args()
    if args.command not in COMMANDS:
        close = difflib.get_close_matches(args.command, COMMANDS, 1)
        sys.exit(
            f'error: {args.command!r} is not an mmrep command; '
            + (f'did you mean {close[0]!r}?' if close else 'see mmrep --help.')
        )
    script = shipped('tools') / COMMANDS[args.command]
    run_script(script, [f'mmrep {args.command}', *args.arguments])


def run_script(script: Path, argv: List[str]) -> None:
    """Run a script with its own ``sys.argv``, including the first word."""
    # runpy.run_path() would put the path there, and thus into --help
    sys.argv = argv
    main_module = types.ModuleType('__main__')
    main_module.__file__ = str(script)
    sys.modules['__main__'] = main_module
    exec(compile(script.read_bytes(), script, 'exec'), vars(main_module))


def _list_commands() -> str:
    lines = ['commands:']
    for command, script in COMMANDS.items():
        text = (shipped('tools') / script).read_text(encoding='utf-8')
        paragraph = ast.get_docstring(ast.parse(text)).partition('\n\n')[0]
        lines.append(f'  {command:<15} {" ".join(paragraph.split())}')
    return '\n'.join(lines)


def _completion() -> str:
    """A script for bash; files are completed if no name fits."""
    return f"""\
[ -z "$ZSH_VERSION" ] || {{ autoload -U +X bashcompinit && bashcompinit; }}
_mmrep() {{
    local words='{' '.join(config_names())}'
    [ "$COMP_CWORD" != 1 ] || words='{' '.join(COMMANDS)}'
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _mmrep mmrep"""


def _version() -> str:
    version = Path(find_spec('mmrep').origin).with_name('version.py')
    return runpy.run_path(str(version))['__version__']
