"""Convert data sets to what the configs read."""

import argparse

from mmrep.data.convert import FORMS, convert
from mmrep.engine.cli import run
from mmrep.errors import UsageError

_CONVERT = """Convert a data set to what the configs read.

Boxes and polygons become COCO's form: OUT/images/{train,val,test} and
OUT/annotations/{train,val,test}.json. Masks become label maps:
OUT/annotations/{train,val,test}/*.png, with the classes in OUT/palette.txt.
Files are found by their names, in any usual folders.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest='command', required=True)
    _add_convert(commands)
    return parser


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'convert',
        help='from the form of a tool for labelling to what configs read',
        description=_CONVERT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('form', choices=FORMS, help='form of the labels')
    parser.add_argument('src', help='folder of the pictures and labels')
    parser.add_argument('out', help='folder to make')
    parser.add_argument(
        '--labels', metavar='DIR', help='the labels, if not in SRC'
    )
    parser.add_argument(
        '--to',
        choices=['coco', 'masks'],
        help='masks: draw polygons as label maps, for a segmentor; '
        "coco if not given, but masks for the form 'masks'",
    )
    parser.add_argument(
        '--palette',
        metavar='FILE',
        help='names and colours of masks, "R G B name" in each line; if not '
        'given, one that lies in SRC under a usual name, else the colours '
        'that are found',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help='all classes, in the order of their labels; if not given, those '
        'that the labels have',
    )
    parser.add_argument(
        '--split',
        nargs=3,
        type=_share,
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='shares; if not given, the folders or lists that SRC has, else '
        '0.8 0.1 0.1. A picture keeps its split when others are added',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='another one, another split (0)'
    )
    parser.add_argument(
        '--keep-unlabelled',
        action='store_true',
        help='keep pictures without a label file, with nothing in them',
    )
    parser.set_defaults(run=_convert)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float('inf'):
        raise argparse.ArgumentTypeError(f'must be 0 or more, got {text}')
    return value


def _convert(args: argparse.Namespace) -> None:
    to_masks = args.to == 'masks' and args.form != 'masks'
    if args.form == 'masks' and args.to == 'coco':
        raise UsageError('masks have no objects, and become label maps only.')
    if args.palette and args.form != 'masks':
        raise UsageError("--palette is for the form 'masks'.")
    if args.split and not args.split[0] > 0:
        raise UsageError('--split must give train a share above 0.')
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
    unit = 'pixels' if to_masks or args.form == 'masks' else 'objects'
    print(f'{total} pictures ({parts}) are in {args.out}')
    for name, count in result.classes.items():
        print(f'  {name}: {count} {unit}')
    for note in result.notes:
        print(f'- {note}')
    if args.form == 'masks' and not args.palette and not args.classes:
        print(
            f'The names are in {args.out}/palette.txt; to change them, edit a '
            'copy and convert again with --palette.'
        )


def main() -> None:
    args = build_parser().parse_args()
    args.run(args)


if __name__ == '__main__':
    run(main)
