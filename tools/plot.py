"""Draw losses, learning rate and scores of runs, and print the best score.

One run is drawn with all its losses and scores; several runs are compared.
"""

import argparse
from pathlib import Path

from mmrep_cli.arguments import parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='RUN',
        help='work dir of a training run, or a scalars.json',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        default='curves.png',
        help='PNG file to write (default: curves.png)',
    )
    parser.add_argument(
        '--score',
        help='score to draw and compare, such as mAcc (default: all scores '
        'for one run; mIoU or mAP to compare several)',
    )
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.engine import check_png
from mmrep.engine.cli import run
from mmrep.errors import counted
from mmrep.watching import best_score, draw_curves, read_run


def main() -> None:
    args = parse_args()
    check_png('--out', args.out)
    runs = [read_run(path) for path in args.runs]
    for one in runs:
        best = best_score(one, args.score)
        trained = counted(int(one.train[-1]['iter']), 'iteration')
        if best is None:
            print(f'{one.name}: {trained}, not validated')
            continue
        name, value, step = best
        # other validations may have other scores
        last = [r[name] for r in one.scores if name in r][-1]
        print(
            f'{one.name}: {trained}, best {name} {value:.4g} at {one.unit} '
            f'{step}, last {last:.4g}'
        )
    draw_curves(runs, Path(args.out), args.score)
    print(f'the curves are in {args.out}')


if __name__ == '__main__':
    run(main)
