"""Quantize a model to eight bits, if it keeps its score.

It uses ONNX Runtime's static quantization, calibrated on training images
prepared by the test pipeline. The file and the float one are scored on the
validation set. If it loses more than --max-drop points of mIoU or AP, the
layers with the largest errors stay in float until it keeps its score;
otherwise no file is written.
"""

import argparse
from pathlib import Path

from mmrep_cli.arguments import (
    add_checkpoint_arguments,
    parse_arguments,
    positive,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of either form')
    parser.add_argument(
        'model',
        help='checkpoint for that config, which is exported first, or an '
        '.onnx file written by tools/export.py',
    )
    parser.add_argument(
        'out', help='file to write; its name must end in .onnx'
    )
    parser.add_argument(
        '--calibrate',
        type=positive,
        default=64,
        metavar='N',
        help='training images to measure ranges on (default: 64)',
    )
    parser.add_argument(
        '--max-drop',
        type=float,
        default=0.5,
        metavar='POINTS',
        help='largest loss allowed, in points of mIoU or AP from 0 to 100 '
        '(default: 0.5)',
    )
    parser.add_argument(
        '--weight-bits',
        type=int,
        choices=[7, 8],
        help='7 makes a file that is also correct on processors without VNNI '
        '(default: 8 if this processor has VNNI, otherwise 7)',
    )
    parser.add_argument(
        '--data-root', help="folder of the data set (default: the config's)"
    )
    parser.add_argument(
        '--report', metavar='JSON', help='file for the measurements'
    )
    add_checkpoint_arguments(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import sys
from tempfile import TemporaryDirectory
from typing import Iterable

from rich.console import Console
from rich.progress import track

from mmrep.deploy.quantize import Quantized, quantize
from mmrep.deploy.quantize.files import check_installed, export_float
from mmrep.deploy.quantize.pictures import calibration_paths
from mmrep.deploy.quantize.score import validation
from mmrep.engine import check_data, load_config, set_data_root
from mmrep.engine.cli import run
from mmrep.errors import UsageError, counted
from mmrep.files import write_json
from mmrep.machine import facts

CONSOLE = Console(stderr=True)


def main() -> None:
    args = parse_args()
    check(args)
    cfg = load_config(args.config, args.cfg_options)
    loaders = 'train_dataloader', f'{validation(cfg)}_dataloader'
    if args.data_root:
        set_data_root(cfg, args.data_root, loaders)
    check_data(cfg, *loaders)
    calibration_paths(cfg, args.calibrate)  # before the export, for its errors
    with TemporaryDirectory(prefix='mmrep.quantize.') as folder:
        model = args.model
        if Path(model).suffix != '.onnx':
            model = str(Path(folder, 'float.onnx'))
            note(f'exporting {args.model}')
            export_float(cfg, args.model, model, args.trust_checkpoint)
        done = quantize(
            cfg,
            model,
            args.out,
            args.calibrate,
            args.max_drop,
            args.weight_bits,
            bar,
            note,
        )
    print(report(done))
    if args.report:
        write_json(args.report, {**facts('cpu'), **done.as_dict()})


def check(args: argparse.Namespace) -> None:
    check_installed()
    if Path(args.out).suffix != '.onnx':
        raise UsageError(f'OUT must end in .onnx, got {args.out!r}.')
    if Path(args.out).resolve() == Path(args.model).resolve():
        raise UsageError('OUT must not overwrite the input model.')
    if Path(args.model).suffix in ('.pt2', '.xml'):
        raise UsageError(
            f'the model must be a checkpoint or an .onnx, got {args.model!r}.'
        )
    if not args.max_drop >= 0:
        raise UsageError(
            f'--max-drop must not be negative, got {args.max_drop}.'
        )


def bar(values: Iterable, text: str, total: int) -> Iterable:
    return track(values, text, total=total, console=CONSOLE)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(done: Quantized) -> str:
    """The measurements as Markdown."""
    lines = ['| | float | eight bits |', '| --- | --- | --- |']
    for name, value in done.float_score.items():
        lines.append(f'| {name} | {value:.2f} | {done.score[name]:.2f} |')
    sizes = ' | '.join(f'{size / 1e6:.1f} MB' for size in done.bytes)
    times = ' | '.join(f'{ms:.4g} ms' for ms in done.milliseconds)
    height, width = done.shape
    lines += [f'| file | {sizes} |', f'| {height}x{width} | {times} |', '']
    if done.kernels:
        lines += [
            '| depth-wise kernel | size | spread of channels | peak '
            '| dB, one scale per channel | dB, one scale |',
            '| --- | --- | --- | --- | --- | --- |',
        ]
        for kernel in done.kernels:
            lines.append(
                f'| {kernel.layer} | {kernel.kernel} | {kernel.spread:.1f} '
                f'| {kernel.peak:.1f} | {kernel.decibels:.1f} '
                f'| {kernel.decibels_one_scale:.1f} |'
            )
        lines.append('')
    lines.append(
        f'{done.layers - len(done.in_float)} of {done.layers} layers are '
        f'quantized, with weights in {done.weight_bits} bits; scored '
        f'{counted(done.scorings, "time")} on the {done.scored_on} set, '
        f'calibrated on {counted(done.calibrated_on, "image")}.'
    )
    if done.in_float:
        lines.append('In float: ' + ', '.join(done.in_float))
    lines.append(f'{done.path}: {done.drop:.2f} points lost')
    return '\n'.join(lines)


if __name__ == '__main__':
    run(main)
