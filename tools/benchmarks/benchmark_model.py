"""Time configs' models in training and inference, and measure their memory.

No weights or data are needed: models have random weights and see random
images. A step of training has AdamW's update; inference is the network from
normalised images to a segmentor's logits, or to the maps of a detector's neck,
in one or several forms. All cases of a call take turns, each in a process of
its own and all in memory, so that ratios are of one run. A GPU is used if
there is one; CUDA_VISIBLE_DEVICES= hides it.

    tools/benchmarks/benchmark_model.py CONFIG --form train deploy onnx compile
    tools/benchmarks/benchmark_model.py CONFIG --mode training \\
        --switches plain bf16 with_cp bf16+channels_last --baselines swin-b
    tools/benchmarks/benchmark_model.py CONFIG --form train deploy \\
        --switches bf16+channels_last+cuda_graph          # on a GPU
"""

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

from mmrep_cli.arguments import add_config_options, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='config of the training form of a segmentor or detector',
    )
    parser.add_argument(
        '--mode',
        nargs='+',
        choices=['inference', 'training'],
        default=['inference', 'training'],
        help='what is measured (default: both)',
    )
    parser.add_argument(
        '--form',
        nargs='+',
        choices=['train', 'deploy', 'onnx', 'compile'],
        default=['train', 'deploy'],
        help='forms of inference: train is the training form in evaluation '
        'mode, deploy the merged one, onnx that in ONNX Runtime, compile that '
        'by torch.compile (default: train and deploy)',
    )
    parser.add_argument(
        '--switches',
        nargs='+',
        default=['plain'],
        metavar='SWITCHES',
        help='each plain, or some of bf16, fp16, channels_last, with_cp, '
        'compile, cuda_graph joined by "+"; '
        'bf16 and fp16 are autocast in training and --amp of test.py in '
        'inference; with_cp and compile (of the backbone) are for '
        'training, cuda_graph for inference (default: plain)',
    )
    parser.add_argument(
        '--batch-sizes',
        nargs='+',
        type=int,
        default=[2],
        metavar='N',
        help='images of a batch (default: 2)',
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=[512, 512],
        metavar=('H', 'W'),
        help='height and width of the images (default: 512 512)',
    )
    parser.add_argument(
        '--baselines',
        nargs='+',
        choices=['convnext-b', 'swin-b'],
        default=[],
        help="backbones to measure too, before the first config's head; "
        'swin-b comes with MMSegmentation, convnext-b needs mmpretrain',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=5,
        help='turns of each case, of which the median counts (default: 5)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        help="threads on the CPU; PyTorch's number if not given",
    )
    parser.add_argument(
        '--clock',
        choices=['wall', 'cpu'],
        default='wall',
        help='cpu counts the time that a process has the CPU, for a machine '
        'that does other work too; best with --threads 1',
    )
    parser.add_argument(
        '--one-process',
        action='store_true',
        help='one case after the other in this process, which saves their '
        'starts; memory is then counted on a GPU only; --out is written '
        'after each',
    )
    parser.add_argument('--out', metavar='JSON', help='file for the results')
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
from mmengine.config import Config

from mmrep.analysis.throughput import (
    Case,
    measure,
    measure_here,
    missing_package,
    parse_switches,
    table,
    with_baseline,
)
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json
from mmrep.machine import facts


def check(args: argparse.Namespace) -> None:
    if min(args.shape) < 32:
        raise UsageError(f'--shape takes sizes from 32, got {args.shape}.')
    for name in ('batch_sizes', 'repeats', 'threads'):
        value = getattr(args, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            option = name.replace('_', '-')
            raise UsageError(f'--{option} must be positive, got {value}.')
    if args.clock == 'cpu' and torch.cuda.is_available():
        raise UsageError('--clock cpu does not see what a GPU does.')


def models(args: argparse.Namespace) -> Iterator[Tuple[str, Config]]:
    """The configs' models and the baselines, by name."""
    for i, path in enumerate(args.configs):
        cfg = load_config(path, args.cfg_options)
        if not isinstance(cfg.get('model'), dict):
            raise UsageError(f'{path} must define model.')
        yield Path(path).stem, cfg
        for baseline in args.baselines if i == 0 else []:
            package = missing_package(baseline)
            if package:
                note(f'{baseline} is skipped: it needs {package}')
            else:
                yield baseline, with_baseline(cfg, baseline)


def list_jobs(args: argparse.Namespace) -> List[Tuple[Config, Case]]:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    switches = [parse_switches(text) for text in args.switches]
    found = list(models(args))
    jobs, reasons = [], {}
    for mode, batch_size in itertools.product(args.mode, args.batch_sizes):
        forms = args.form if mode == 'inference' else ['train']
        for (name, cfg), form, some in itertools.product(
            found, forms, switches
        ):
            case = Case(
                name, mode, form, some, batch_size, tuple(args.shape), device
            )
            reason = case.unfit()
            if reason is None:
                jobs.append((cfg, case))
            else:
                reasons[str(case)] = reason
    if not jobs:
        raise UsageError(f'nothing to measure: {next(iter(reasons.values()))}')
    for case, reason in reasons.items():
        note(f'{case} is skipped: {reason}')
    return jobs


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def circumstances(args: argparse.Namespace) -> dict:
    """Where, when and with what it was measured."""
    return {
        **facts(),
        'threads': args.threads,
        'load': round(os.getloadavg()[0], 1),
        'repeats': args.repeats,
    }


def main() -> None:
    args = parse_args()
    if args.threads is None:
        args.threads = torch.get_num_threads()
    check(args)
    jobs = list_jobs(args)
    found = circumstances(args)
    options = args.repeats, args.threads, args.clock, note
    if args.one_process:
        rows = []
        for row in measure_here(jobs, *options):
            rows.append(row)
            if args.out:
                write_json(args.out, {**found, 'rows': rows})
    else:
        rows = measure(jobs, *options)
        if args.out:
            write_json(args.out, {**found, 'rows': rows})
    print(table(rows))
    failed = sum('error' in row for row in rows)
    if failed:
        raise UsageError(
            f'{failed} of {len(rows)} cases could not be measured; the table '
            'says why.'
        )


if __name__ == '__main__':
    run(main)
