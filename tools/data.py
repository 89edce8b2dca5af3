"""Convert, check and show data sets, and write configs for them."""

import argparse
import os
import signal
import sys

from mmrep_cli.arguments import (
    add_config_options,
    parse_arguments,
    positive,
    seed,
)

_CONVERT = """Convert a data set to the format that configs read.

Boxes and polygons are converted to COCO format: OUT/images/{train,val,test}
and OUT/annotations/{train,val,test}.json. Masks become label maps:
OUT/annotations/{train,val,test}/*.png, with the classes in OUT/palette.txt.
Files are found by name, in the usual folder layouts.
"""

_NEW_CONFIG = """Write a config for a converted data set.

    mmrep data new-config DIR --out my.py

It inherits from one of mmrep's configs. Standard error and the top of the
config say what was chosen, and why.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest='command', required=True)
    _add_convert(commands)
    _add_new_config(commands)
    _add_check(commands)
    _add_show(commands)
    return parse_arguments(parser)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'convert',
        help='convert the format of a labelling tool to the one that configs '
        'read',
        description=_CONVERT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        'form',
        choices=['coco', 'cvat', 'labelme', 'voc', 'yolo', 'masks'],
        help='format of the labels',
    )
    parser.add_argument('src', help='folder with the pictures and labels')
    parser.add_argument('out', help='folder to make')
    parser.add_argument(
        '--labels',
        metavar='DIR',
        help='folder with the labels, if they are not in SRC',
    )
    parser.add_argument(
        '--to',
        choices=['coco', 'masks'],
        help='masks draws polygons as label maps, for a segmentor (default: '
        "coco, or masks for the format 'masks')",
    )
    parser.add_argument(
        '--palette',
        metavar='FILE',
        help='file with the names and colours of masks, one "R G B name" per '
        'line (default: a file in SRC with a common name, or else the '
        'colours found in the masks)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help='all classes, in the order of their labels (default: those '
        'found in the labels)',
    )
    parser.add_argument(
        '--split',
        nargs=3,
        type=float,
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='shares of the splits, which add up to 1 (default: the folders '
        'or lists of SRC, or else 0.8 0.1 0.1). Of 200 pictures or more, each '
        'keeps its split when others are added',
    )
    parser.add_argument(
        '--seed', type=seed, default=0, help='seed of the split (default: 0)'
    )
    parser.add_argument(
        '--keep-unlabelled',
        action='store_true',
        help='keep pictures without a label file, as pictures with nothing '
        'in them',
    )


def _add_new_config(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'new-config',
        help='write a config for a converted data set',
        description=_NEW_CONFIG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('dir', help='folder made by mmrep data convert')
    parser.add_argument(
        '--model',
        default='unireplknet-t',
        help='default: unireplknet-t; the tiny models, such as '
        'replknet-tiny, are for a CPU',
    )
    parser.add_argument(
        '--method',
        choices=['upernet', 'fcos', 'cascade-mask-rcnn'],
        help='default: upernet for label maps, cascade-mask-rcnn if all '
        'objects have masks, fcos otherwise',
    )
    parser.add_argument(
        '--epochs',
        type=positive,
        help='how often each picture is seen (default: 24 to 300, depending '
        'on the number of pictures)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        help="pictures per step (default: the recipe's)",
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='config to write (default: standard output)',
    )


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'check',
        help='run all checks of a training run and report what the data sets '
        'hold',
        description='Check the data sets of a config as a training run does, '
        'and report what they hold: classes, sizes, empty pictures, labels '
        'that look wrong, pictures that are in several splits. The exit '
        'status is 1 if a training run would fail.',
        allow_abbrev=False,
    )
    parser.add_argument('config', help='config file')
    add_config_options(parser)


def _add_show(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'show',
        help='draw training samples after augmentation, with their labels',
        description='Draw a sheet of training samples as the model gets '
        'them, after augmentation, with their labels.',
        allow_abbrev=False,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        required=True,
        help='PNG file to write; it is overwritten if it exists',
    )
    parser.add_argument(
        '--number',
        type=positive,
        default=12,
        help='number of samples (default: 12)',
    )
    parser.add_argument(
        '--loader',
        choices=['train', 'val', 'test'],
        default='train',
        help='split to draw from (default: train)',
    )
    parser.add_argument(
        '--seed',
        type=seed,
        default=0,
        help='seed that picks the samples (default: 0)',
    )
    add_config_options(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.data.convert import convert
from mmrep.data.survey import survey
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.engine.new_config import write_config
from mmrep.errors import UsageError, counted
from mmrep.files import write_text


def _convert(args: argparse.Namespace) -> None:
    to_masks = args.to == 'masks' and args.form != 'masks'
    if args.form == 'masks' and args.to == 'coco':
        raise UsageError(
            'masks have no objects, so they can only become label maps.'
        )
    if args.palette and args.form != 'masks':
        raise UsageError("--palette needs the format 'masks'.")
    result = convert(
        args.form,
        args.src,
        args.out,
        args.labels,
        to_masks,
        args.palette,
        args.classes,
        args.split,
        args.seed,
        args.keep_unlabelled,
    )
    parts = ', '.join(f'{n} {split}' for split, n in result.pictures.items())
    total = sum(result.pictures.values())
    unit = 'pixel' if to_masks or args.form == 'masks' else 'object'
    print(f'{args.out} has {counted(total, "picture")} ({parts})')
    for name, count in result.classes.items():
        print(f'  {name}: {counted(count, unit)}')
    for note in result.notes:
        print(f'- {note}')
    if args.form == 'masks' and not args.palette and not args.classes:
        print(
            f'The names are in {args.out}/palette.txt; to change them, edit a '
            'copy and convert again with --palette.'
        )


def _new_config(args: argparse.Namespace) -> None:
    if args.out and os.path.exists(args.out):
        raise UsageError(
            f'--out must be a new file, and {args.out} exists, perhaps with '
            'changes of yours; remove it or give another name.'
        )
    if args.out and not args.out.endswith('.py'):
        raise UsageError(f'--out must end in .py, got {args.out!r}.')
    data = survey(args.dir)
    text, notes = write_config(
        data, args.model, args.method, args.epochs, args.batch_size
    )
    for note in notes:
        sys.stderr.write(f'{note}\n')
    if args.out:
        write_text(args.out, text)
    else:
        sys.stdout.write(text)


def _check(args: argparse.Namespace) -> None:
    # these import MMDetection, which takes seconds
    from mmrep.analysis.data_report import report_data

    report = report_data(load_config(args.config, args.cfg_options))
    print('\n'.join(report.lines))
    for note in report.notes:
        print(f'- {note}')
    for error in report.errors:
        sys.stderr.write(f'error: {error}\n')
    if report.errors:
        sys.exit(1)
    print('no error' + (', see the notes' if report.notes else ''))


def _show(args: argparse.Namespace) -> None:
    from mmrep.apis.sheet import draw_sheet

    cfg = load_config(args.config, args.cfg_options)
    loader = f'{args.loader}_dataloader'
    count = draw_sheet(cfg, args.out, args.number, args.seed, loader)
    print(f'{args.out} has {counted(count, "sample")}')


def main() -> None:
    args = parse_args()
    # an exit removes what is not complete
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    commands = {
        'convert': _convert,
        'new-config': _new_config,
        'check': _check,
        'show': _show,
    }
    commands[args.command](args)


if __name__ == '__main__':
    run(main)
