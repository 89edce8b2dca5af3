"""Train configs with one recipe, select by validation score, test once.

    python projects/from_scratch/from_scratch.py CONFIG... --data-root DIR

tools/train.py trains each config; tools/test.py tests the checkpoint with the
best validation score, at one scale and with --aug-test. Interrupted runs
continue, and no test is repeated. After each config, --out-dir gets
from_scratch.json and .md, and the training log as CONFIG_seedN.jsonl.
"""

import argparse
import json
import sys
from pathlib import Path
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
    logged,
    table_rows,
    train,
    validations,
)

ROOT = Path(__file__).resolve().parents[2]
METRICS = 'mIoU', 'coco/bbox_mAP', 'coco/bbox_mAP_50'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', type=Path, nargs='+', metavar='CONFIG')
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--amp',
        choices=['fp16', 'bf16'],
        default=False,
        help='train in mixed precision',
    )
    parser.add_argument(
        '--out-dir', type=Path, default=Path('work_dirs/from_scratch')
    )
    add_config_options(parser)
    return parse_arguments(parser)


def main() -> None:
    args = parse_args()
    check(args)
    path = args.out_dir / 'from_scratch.json'
    rows = []
    for config in tqdm(args.configs, unit='config'):
        options = {k: str(v) for k, v in args.cfg_options.items()}
        options['randomness.seed'] = str(args.seed)
        training = Training(
            config,
            args.out_dir / config.stem / f'seed{args.seed}',
            options,
            args.data_root,
            args.amp,
        )
        rows.append(train_and_test(training))
        write_json(path, {**facts(), 'rows': rows})
        write_text(path.with_suffix('.md'), markdown(rows))
        log = ''.join(
            json.dumps(entry) + '\n' for entry in logged(training.work_dir)
        )
        name = f'{config.stem}_seed{args.seed}.jsonl'
        write_text(path.with_name(name), log)
    print(f'{markdown(rows)}\nwrote {path}, .md and the logs')


def check(args: argparse.Namespace) -> None:
    """Raise an error before the first training run if something is wrong."""
    if 'randomness.seed' in args.cfg_options:
        raise UsageError(
            '--cfg-options must not set randomness.seed; use --seed.'
        )
    for config in args.configs:
        check_best_is_kept(config, args.cfg_options)


def train_and_test(training: Training) -> Dict[str, object]:
    """A row of the result."""
    train(training, ROOT / 'tools/train.py')
    script = ROOT / 'tools/test.py'
    # best_mIoU_iter_8000.pth
    chosen = best_checkpoint(training.work_dir).stem
    step = int(chosen.rpartition('_')[2])
    validated = validations(training.work_dir)
    return {
        **training.settings(),
        'chosen': chosen,
        'val': next(v for v in validated if v['step'] == step),
        'test': evaluate(training, script),
        'test --aug-test': evaluate(training, script, '--aug-test'),
    }


def markdown(rows: List[Dict[str, object]]) -> str:
    """The metrics in percent, one line per config."""
    metrics = [m for m in METRICS if m in rows[0]['test']]
    splits = 'val', 'test', 'test --aug-test'
    header = ['config', *(f'{s}: {m}' for s in splits for m in metrics)]
    lines = []
    for row in rows:
        values = [row[s][m] for s in splits for m in metrics]
        # AP is a fraction, mIoU is in percent
        scale = 1 if 'mIoU' in metrics else 100
        lines.append([row['config'], *(f'{scale * v:.1f}' for v in values)])
    return table_rows(header, lines)


if __name__ == '__main__':
    run(main)
