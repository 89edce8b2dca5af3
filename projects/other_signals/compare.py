"""Train configs with several seeds, select by validation, test once.

    python projects/other_signals/compare.py CONFIG... --data-root DIR

tools/train.py trains each config once for each seed, and tools/test.py tests
the checkpoint with the best validation score. Interrupted runs continue, and
no test is repeated. After each run, --out-dir gets compare.json with every
result, and compare.md with the mean of each metric and its standard deviation
over the seeds.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List

from tqdm import tqdm

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json, write_text
from mmrep.machine import facts
from mmrep_cli.arguments import add_config_options, parse_arguments

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from projects.runs import (
    Training,
    best_checkpoint,
    check_best_is_kept,
    evaluate,
    table_rows,
    train,
)

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', type=Path, nargs='+', metavar='CONFIG')
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], help='(0 1 2)'
    )
    parser.add_argument(
        '--out-dir', type=Path, default=Path('work_dirs/compare')
    )
    add_config_options(parser)
    return parse_arguments(parser)


def main() -> None:
    args = parse_args()
    if 'randomness.seed' in args.cfg_options:
        raise UsageError(
            '--cfg-options must not set randomness.seed; use --seeds.'
        )
    for config in args.configs:
        check_best_is_kept(config, args.cfg_options)
    path = args.out_dir / 'compare.json'
    rows = []
    for config, seed in tqdm(
        [(c, s) for c in args.configs for s in args.seeds], unit='run'
    ):
        options = {k: str(v) for k, v in args.cfg_options.items()}
        training = Training(
            config,
            args.out_dir / config.stem / f'seed{seed}',
            {**options, 'randomness.seed': str(seed)},
            args.data_root,
        )
        rows.append(train_and_test(training))
        write_json(path, {**facts(), 'rows': rows})
        write_text(path.with_suffix('.md'), markdown(rows))
    print(f'{markdown(rows)}\nwrote {path} and .md')


def train_and_test(training: Training) -> Dict[str, object]:
    """A run's result."""
    train(training, ROOT / 'tools/train.py')
    return {
        **training.settings(),
        'chosen': best_checkpoint(training.work_dir).stem,
        'test': evaluate(training, ROOT / 'tools/test.py'),
    }


def markdown(rows: List[Dict[str, object]]) -> str:
    """Mean and standard deviation over the seeds, one line per config."""
    metrics = list(dict.fromkeys(m for row in rows for m in row['test']))
    lines = []
    for config in dict.fromkeys(row['config'] for row in rows):
        tests = [row['test'] for row in rows if row['config'] == config]
        cells = [config, str(len(tests))]
        for metric in metrics:
            values = [test[metric] for test in tests if metric in test]
            cells.append(f'{mean(values):.2f}' if values else '')
            if len(values) > 1 and len(set(values)) > 1:
                cells[-1] += f' ± {stdev(values):.2f}'
        lines.append(cells)
    return table_rows(['config', 'seeds', *metrics], lines)


if __name__ == '__main__':
    run(main)
