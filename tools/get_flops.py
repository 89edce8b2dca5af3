"""Count the parameters and FLOPs of a config's model.

FLOPs are multiply-adds, as in papers: those of convolutions and matrix
products, for one image, without resizing or slicing it. Parameters are those
of the parts that inference runs; an auxiliary head is listed separately.
Published counts are for the deploy form (--deploy). For two-stage detectors,
each box head counts for 1000 boxes and each mask head for 100, as in
MMDetection 2.x.
"""

import argparse
import json
import os
import sys
from contextlib import contextmanager
from typing import Iterator

from mmrep_cli.arguments import add_config_options, parse_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config', help='config of a segmentor, detector or backbone'
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        required=True,
        metavar=('H', 'W'),
        help='height and width of the image; papers write width x height, so '
        'their 2048x512 is --shape 512 2048',
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='count the deploy form, with merged large kernels',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print {"params": ..., "flops": ..., "parts": {...}} in plain '
        'units, FLOPs as multiply-adds',
    )
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmengine.config import Config
from torch import nn

from mmrep.analysis import Complexity, ValuesNeeded, count
from mmrep.deploy import build_model
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError


@contextmanager
def messages_to_stderr() -> Iterator[None]:
    """Send output of libraries and of loggers opened meanwhile to stderr."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def measure(args: argparse.Namespace) -> Complexity:
    if min(args.shape) < 1:
        raise UsageError(
            '--shape must be a positive height and width, got '
            f'{args.shape[0]} {args.shape[1]}.'
        )
    cfg: Config = load_config(args.config, args.cfg_options)
    try:
        return measure_model(build_model(cfg, meta=True), args)
    except ValuesNeeded:  # such as those of deformable attention
        return measure_model(build_model(cfg), args)


def measure_model(model: nn.Module, args: argparse.Namespace) -> Complexity:
    if args.deploy:
        backbone = getattr(model, 'backbone', model)
        if not callable(getattr(backbone, 'switch_to_deploy', None)):
            raise UsageError(
                '--deploy needs a backbone with a deploy form, got '
                f'{type(backbone).__name__}.'
            )
        backbone.switch_to_deploy()
    return count(model, tuple(args.shape))


def print_table(result: Complexity, args: argparse.Namespace) -> None:
    height, width = args.shape
    form = 'deploy form, ' if args.deploy else ''
    print(f'{args.config}, {form}{height} x {width} (height x width)')
    rows = [(n, c['params'], c['flops']) for n, c in result.parts.items()]
    rows.append(('total', result.params, result.flops))
    print(f'{"part":<20}{"parameters":>16}{"FLOPs":>14}')
    for name, params, flops in rows:
        print(f'{name:<20}{params / 1e6:>14.2f} M{flops / 1e9:>12.2f} G')
    for name, params in result.idle.items():
        print(
            f'{name} ({params / 1e6:.2f} M parameters) does not run in '
            'inference and is not counted'
        )
    print('FLOPs are multiply-adds of convolutions and matrix products')


def main() -> None:
    args = parse_args()
    with messages_to_stderr():
        result = measure(args)
    if args.json:
        print(json.dumps(result.to_dict()))
    else:
        print_table(result, args)


if __name__ == '__main__':
    run(main)
