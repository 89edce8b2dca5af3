"""Measure time and memory of configs' models in training and inference.

No weights or data are needed: models have random weights and get random
images. A training step includes AdamW's update. Inference is the network from
normalised images to a segmentor's logits or to the maps of a detector's neck,
in one or several forms. All cases of a config take turns, each in its own
process and all in memory, so ratios come from one run; then the next config
follows. A GPU is used if there is one; CUDA_VISIBLE_DEVICES= hides it.

    tools/benchmarks/benchmark_model.py CONFIG --form train deploy onnx compile
    tools/benchmarks/benchmark_model.py CONFIG --mode training \\
        --switches plain bf16 with_cp bf16+channels_last --baselines swin-b
    tools/benchmarks/benchmark_model.py CONFIG --form train deploy \\
        --switches bf16+channels_last+cuda_graph          # on a GPU
    tools/benchmarks/benchmark_model.py CONFIG CONFIG --mode inference \\
        --checkpoints FILE FILE --form train deploy compile onnx openvino int8
"""

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

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
        help='what to measure (default: both)',
    )
    parser.add_argument(
        '--form',
        nargs='+',
        choices=['train', 'deploy', 'onnx', 'compile', 'openvino', 'int8'],
        default=['train', 'deploy'],
        help='forms of inference: train is the training form in evaluation '
        'mode; deploy is the merged one; compile, onnx and openvino run the '
        'merged one with torch.compile, ONNX Runtime and OpenVINO; int8 is '
        'the merged one in eight bits, with ranges from noise or, with '
        '--checkpoints, as tools/quantize.py makes it (default: train and '
        'deploy)',
    )
    parser.add_argument(
        '--checkpoints',
        nargs='+',
        metavar='FILE',
        help='weights, one file for each config: inference then goes from '
        'pictures to predictions on the CPU, and file sizes and scores on '
        'the validation set are reported too',
    )
    parser.add_argument(
        '--data-root',
        nargs='+',
        metavar='DIR',
        help='with --checkpoints, folders of the data sets, instead of the '
        "configs'",
    )
    parser.add_argument(
        '--switches',
        nargs='+',
        default=['plain'],
        metavar='SWITCHES',
        help='each is plain, or some of bf16, fp16, channels_last, with_cp, '
        'compile and cuda_graph joined by "+"; bf16 and fp16 mean autocast '
        'in training and --amp of test.py in inference; with_cp and compile '
        '(of the backbone) are for training, cuda_graph is for inference '
        '(default: plain)',
    )
    parser.add_argument(
        '--batch-sizes',
        nargs='+',
        type=int,
        default=[2],
        metavar='N',
        help='images per batch (default: 2)',
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
        help="other backbones to measure with the first config's head; "
        'swin-b comes with MMSegmentation, convnext-b needs mmpretrain',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=5,
        help='turns of each case; the median counts (default: 5)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        help="threads on the CPU (default: PyTorch's number)",
    )
    parser.add_argument(
        '--clock',
        choices=['wall', 'cpu'],
        default='wall',
        help='cpu counts CPU time, for a machine that does other work too; '
        'best with --threads 1',
    )
    parser.add_argument(
        '--one-process',
        action='store_true',
        help='run all cases in this process, which saves their start-up '
        'time; memory is then measured only on a GPU',
    )
    parser.add_argument(
        '--out',
        metavar='JSON',
        help='file for the results, written after each config, or after each '
        'case with --one-process',
    )
    parser.add_argument(
        '--picture', metavar='PNG', help='file for a bar chart of the times'
    )
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
from mmrep.deploy.quantize.score import validation
from mmrep.engine import (
    check_data,
    check_png,
    load_config,
    set_data_root,
)
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import replaced, write_json
from mmrep.machine import facts
from mmrep.models.precision import HALF, check_precision
from mmrep.ops import backend_report


def check(args: argparse.Namespace) -> None:
    if min(args.shape) < 32:
        raise UsageError(f'--shape must be at least 32, got {args.shape}.')
    for name in ('batch_sizes', 'repeats', 'threads'):
        value = getattr(args, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            option = name.replace('_', '-')
            raise UsageError(f'--{option} must be positive, got {value}.')
    for name in ('checkpoints', 'data_root'):
        value = getattr(args, name)
        if value and len(value) != len(args.configs):
            option = name.replace('_', '-')
            raise UsageError(
                f'--{option} must have one for each of {len(args.configs)} '
                f'configs, got {len(value)}.'
            )
    if args.picture:
        check_png('--picture', args.picture)
    if args.data_root and not args.checkpoints:
        raise UsageError('--data-root needs --checkpoints.')
    if args.clock == 'cpu' and torch.cuda.is_available():
        raise UsageError('--clock cpu does not measure a GPU.')


Model = Tuple[str, Config, Optional[str]]


def models(args: argparse.Namespace) -> Iterator[List[Model]]:
    """Each config's model with its weights; baselines with the first."""
    for i, path in enumerate(args.configs):
        cfg = load_config(path, args.cfg_options)
        if not isinstance(cfg.get('model'), dict):
            raise UsageError(f'{path} must define model.')
        loaders = 'train_dataloader', f'{validation(cfg)}_dataloader'
        if args.data_root:
            set_data_root(cfg, args.data_root[i], loaders)
        weights = args.checkpoints[i] if args.checkpoints else None
        if weights:
            check_data(cfg, *loaders)
        found: List[Model] = [(Path(path).stem, cfg, weights)]
        for baseline in args.baselines if i == 0 else []:
            package = missing_package(baseline)
            if package:
                note(f'{baseline} is skipped: it needs {package}')
            else:
                found.append((baseline, with_baseline(cfg, baseline), None))
        yield found


def list_jobs(args: argparse.Namespace) -> List[List[Tuple[Config, Case]]]:
    """For each config the cases that take turns."""
    on_gpu = torch.cuda.is_available() and not args.checkpoints
    device = 'cuda' if on_gpu else 'cpu'
    switches = [parse_switches(text) for text in args.switches]
    if device == 'cpu' and 'inference' in args.mode:
        for name in HALF:
            if any(name in some for some in switches):
                slow = check_precision(name, device)
                if slow:
                    note(slow)
    groups, reasons = [], {}
    for found in models(args):
        jobs = []
        for mode, batch_size in itertools.product(args.mode, args.batch_sizes):
            forms = args.form if mode == 'inference' else ['train']
            for (name, cfg, weights), form, some in itertools.product(
                found, forms, switches
            ):
                case = Case(
                    name, mode, form, some, batch_size, tuple(args.shape),
                    device, weights,
                )  # fmt: skip
                reason = case.unfit()
                if reason is None:
                    jobs.append((cfg, case))
                else:
                    reasons[str(case)] = reason
        groups.append(jobs)
    if not any(groups):
        raise UsageError(f'nothing to measure: {next(iter(reasons.values()))}')
    for case, reason in reasons.items():
        note(f'{case} is skipped: {reason}')
    return groups


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def circumstances(args: argparse.Namespace) -> dict:
    """Where, when and with which versions it was measured."""
    return {
        **facts(),
        'threads': args.threads,
        'load': round(os.getloadavg()[0], 1),
        'repeats': args.repeats,
    }


def draw(rows: List[dict], path: str) -> None:
    """Draw bars of the times, with a panel for each model."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.get('ms')]
    names = list(dict.fromkeys(row['model'] for row in rows))
    high = 0.6 + 0.25 * len(rows) + 0.5 * len(names)
    figure = Figure((8, high), layout='constrained')
    counts = [sum(row['model'] == name for row in rows) for name in names]
    panels = figure.subplots(
        len(names), 1, squeeze=False, height_ratios=counts
    )
    for name, panel in zip(names, panels.flat, strict=True):
        own = [row for row in rows if row['model'] == name][::-1]
        labels = [
            '+'.join(
                [row['form' if row['mode'] == 'inference' else 'mode']]
                + list(row['switches'])
            )
            for row in own
        ]
        bars = panel.barh(range(len(own)), [row['ms'] for row in own])
        panel.set_yticks(range(len(own)), labels)
        panel.bar_label(bars, [f'{row["ms"]:.4g}' for row in own], padding=2)
        panel.margins(x=0.12)
        panel.set_title(name, loc='left', fontsize='medium')
        panel.spines[['top', 'right']].set_visible(False)
    clock = 'CPU milliseconds' if rows[0]['clock'] == 'cpu' else 'milliseconds'
    panels[-1, 0].set_xlabel(f'{clock} of a batch')
    with replaced(path) as partial:
        figure.savefig(partial, dpi=120)


def main() -> None:
    args = parse_args()
    if args.threads is None:
        args.threads = torch.get_num_threads()
    check(args)
    groups = list_jobs(args)
    found = circumstances(args)
    options = args.repeats, args.threads, args.clock, note
    rows: List[dict] = []
    for jobs in groups:
        if args.one_process:
            parts = ([row] for row in measure_here(jobs, *options))
        else:
            parts = iter([measure(jobs, *options)])
        for part in parts:
            rows += part
            if args.out:
                # a kernel that failed is not used from then on
                used = backend_report()
                write_json(args.out, {**found, 'backends': used, 'rows': rows})
    print(table(rows))
    if args.picture and any('ms' in row for row in rows):
        draw(rows, args.picture)
    failed = sum('error' in row for row in rows)
    if failed:
        raise UsageError(
            f'{failed} of {len(rows)} cases could not be measured; the table '
            'says why.'
        )


if __name__ == '__main__':
    run(main)
