"""Run one of RepLKNet's five guidelines as an experiment.

    1  latency of 24 depth-wise layers against nn.Conv2d (paper: Table 1)
    2  MobileNetV2 with and without shortcuts (Table 2)
    3  MobileNetV2 with and without the re-parameterized branch (Table 3)
    4  kernel sizes 3-3-3-3 to 31-29-27-13 in a small RepLKNet (Table 5)
    5  kernel sizes of MobileNetV2's last stage (Table 4)

2 to 5 train on CamVid from scratch with tools/train.py and take the validation
mIoU at the end of the schedule. An interrupted run continues where it stopped,
a finished one is not repeated, and tables share their runs. --out-dir gets
guideline_N.json, .md and .png.

Without --full the models and images are small, for one CPU thread, and so
are the stacks of 1.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence

from tqdm import tqdm

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json, write_text
from mmrep.machine import facts
from mmrep.ops.benchmark import Clock
from mmrep_cli.arguments import add_config_options, parse_arguments

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from projects.guidelines.experiments import (
    KERNELS,
    PUBLISHED_MS,
    TABLES,
    Row,
    draw,
    markdown,
    stack_latency,
)
from projects.runs import Training, recorded, train

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('guideline', type=int, choices=[1, *TABLES])
    parser.add_argument(
        '--data-root', type=Path, help='folder of CamVid, for 2 to 5'
    )
    parser.add_argument(
        '--seeds',
        type=int,
        metavar='N',
        help='train each model with the seeds 0 to N - 1 (default: 3)',
    )
    parser.add_argument(
        '--full',
        action='store_true',
        help='models and images of full size, for a GPU',
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='KEY',
        help='run only these models; an unknown key lists them',
    )
    parser.add_argument(
        '--report-only',
        action='store_true',
        help='train nothing; only report finished runs',
    )
    parser.add_argument(
        '--out-dir', type=Path, default=Path('work_dirs/guidelines')
    )
    add_config_options(parser)
    return parse_arguments(parser)


def main() -> None:
    args = parse_args()
    result = measure(args) if args.guideline == 1 else compare(args)
    path = args.out_dir / f'guideline_{args.guideline}.json'
    write_json(path, result)
    text = markdown(result)
    write_text(path.with_suffix('.md'), text)
    draw(result, path.with_suffix('.png'))
    print(f'{text}\nwrote {path}, .md and .png')


def measure(args: argparse.Namespace) -> dict:
    """Guideline 1."""
    for name in ('data_root', 'seeds', 'rows', 'report_only', 'cfg_options'):
        if getattr(args, name):
            option = '--' + name.replace('_', '-')
            raise UsageError(f'guideline 1 trains nothing: omit {option}.')
    result = {'guideline': 1, 'full': args.full, **facts()}
    batch, channels = (64, 384) if args.full else (1, 64)
    kernels = KERNELS if args.full else (3, 7, 13, 21, 31)
    clock = Clock(result['device'], seconds=0.5, most=50)
    rows = []
    problems = [(size, k) for size in PUBLISHED_MS for k in kernels]
    for size, kernel in tqdm(problems, unit='stack'):
        ms = stack_latency(size, kernel, batch, channels, clock)
        rows.append({'size': size, 'kernel': kernel, 'ms': ms})
    return {**result, 'batch': batch, 'channels': channels, 'rows': rows}


def compare(args: argparse.Namespace) -> dict:
    """Guidelines 2 to 5."""
    table = TABLES[args.guideline]
    if args.data_root is None:
        raise UsageError(
            f'guideline {args.guideline} needs --data-root, the folder of '
            'CamVid that docs/getting_started.md describes.'
        )
    seeds = 3 if args.seeds is None else args.seeds
    if seeds < 1:
        raise UsageError(f'--seeds must be at least 1, got {seeds}.')
    name = table.config + ('' if args.full else '-128x128')
    config = Path(__file__).parent / f'configs/{name}.py'
    rows = select(table.rows, args.rows)
    owned = {'randomness.seed', *(key for row in rows for key in row.options)}
    if owned & set(args.cfg_options):
        raise UsageError(
            '--cfg-options must leave '
            f'{", ".join(sorted(owned & set(args.cfg_options)))} to the '
            'experiment: --seeds and --rows choose.'
        )
    # all models with one seed run before any with the next
    jobs = [(seed, row) for seed in range(seeds) for row in rows]
    scores = {row.key: [] for row in rows}
    for seed, row in tqdm(jobs, unit='run'):
        training = Training(
            config,
            args.out_dir / name / row.key / f'seed{seed}',
            {
                **row.options,
                'randomness.seed': str(seed),
                **{k: str(v) for k, v in args.cfg_options.items()},
            },
            args.data_root,
        )
        if args.report_only:
            metrics = recorded(training)
        else:
            metrics = train(training, ROOT / 'tools/train.py')
        if metrics is not None:
            scores[row.key].append(metrics['mIoU'])
    rows = [row for row in rows if scores[row.key]]
    if not rows:
        raise UsageError(f'{args.out_dir} must hold a finished run.')
    return {
        'guideline': args.guideline,
        'title': table.title,
        'published': table.published,
        'metrics': table.metrics,
        'full': args.full,
        'config': f'{name}.py',
        'cfg_options': args.cfg_options,
        **facts(),
        'rows': [
            {
                'name': row.name,
                'options': row.options,
                'paper': row.paper,
                'mIoU': scores[row.key],
            }
            for row in rows
        ],
    }


def select(rows: Sequence[Row], keys: Optional[Sequence[str]]) -> List[Row]:
    """The rows with these keys, or all if no key is given."""
    known = [row.key for row in rows]
    unknown = sorted(set(keys or []) - set(known))
    if unknown:
        raise UsageError(f'--rows must be among {known}, got {unknown}.')
    return [row for row in rows if not keys or row.key in keys]


if __name__ == '__main__':
    run(main)
