"""Run a script with mmrep imported, such as MMDetection's own tools.

TOOL is a Python file, or PACKAGE::NAME for a script that comes with mmdet,
mmseg or mmrep, such as mmdet::analysis_tools/confusion_matrix or
mmrep::dataset_converters/make_shapes; the arguments after it are those of the
script. With mmrep imported, mmcv's operators work without a compiler, and
configs find mmrep's classes and bases.
"""

import argparse
import difflib
import sys
from importlib.util import find_spec
from pathlib import Path

from mmrep_cli import run_script, shipped


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'tool', metavar='TOOL', help='script to run: a file, or PACKAGE::NAME'
    )
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments of the script'
    )
    return parser.parse_args()


def find_tool(tool: str) -> Path:
    """The file of TOOL."""
    from mmrep.errors import UsageError

    package, _, name = tool.rpartition('::')
    if not package:
        if not Path(tool).is_file():
            raise UsageError(
                f'the tool must be an existing file or PACKAGE::NAME, got '
                f'{tool!r}.'
            )
        return Path(tool)
    if package not in ('mmdet', 'mmrep', 'mmseg') or not find_spec(package):
        raise UsageError(
            f'the package of a tool must be mmdet, mmseg or mmrep, and '
            f'installed, got {package!r}.'
        )
    folder = shipped('tools')
    if package != 'mmrep':
        folder = Path(find_spec(package).origin).parent / '.mim/tools'
    name = name.removesuffix('.py')
    path = folder / f'{name}.py'
    if not path.is_file():
        names = [
            p.relative_to(folder).with_suffix('').as_posix()
            for p in folder.rglob('*.py')
        ]
        stems = [other.rpartition('/')[2] for other in names]
        stem = name.rpartition('/')[2]
        near = difflib.get_close_matches(stem, stems, 1)
        hint = (
            f'did you mean {package}::{names[stems.index(near[0])]}?'
            if near
            else f'its tools are in {folder}.'
        )
        raise UsageError(f'{package} has no tool {name!r}; {hint}')
    return path


def main() -> None:
    args = parse_args()
    script = find_tool(args.tool)
    # as Python does for a script
    sys.path[0] = str(script.resolve().parent)
    run_script(script, [str(script), *args.arguments])


if __name__ == '__main__':
    parse_args()  # --help is answered before the import, which takes seconds
    from mmrep.engine.cli import run

    run(main)
