"""Time OverLoCK's neighbourhood products and two plain forms of them.

The plain forms copy the window of every position, which is K x K times the
values (windows), or add up shifted maps, one for each of the K x K places
(shifts). A network shows which products one image needs. Each shape is timed
once, with random values, and the forms take turns.

    tools/benchmarks/benchmark_neighbourhood.py [CONFIG] --out JSON
"""

import argparse
from collections import Counter
from functools import partial
from typing import Any, Dict, List, Tuple
from unittest import mock

from mmrep_cli.arguments import (
    add_config_options,
    parse_arguments,
    positive,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        nargs='?',
        default='upernet_overlock-t_ade20k',
        metavar='CONFIG',
        help='config of a model with an OverLoCK; UperNet on OverLoCK-T if '
        'not given',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=512,
        help='width and height of the image (default: 512)',
    )
    parser.add_argument(
        '--repeats',
        type=positive,
        default=9,
        help='turns of each form, of which the median counts (default: 9)',
    )
    parser.add_argument(
        '--backward',
        action='store_true',
        help='time the product together with its gradients',
    )
    parser.add_argument('--out', metavar='JSON', help='file for the results')
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
from torch import Tensor, nn

from mmrep.analysis.backbones import load_backbone
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.models.layers import contmix, neighbourhood_product
from mmrep.models.layers.neighbourhood import window_starts
from mmrep.ops.timing import time_in_turn

# of (N, heads, H, W, C), and K
Shape = Tuple[Tuple[int, ...], int]


def by_windows(weights: Tensor, value: Tensor, kernel_size: int) -> Tensor:
    """The product from a copy of the window of each position."""
    windows = value.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    rows, columns = (window_starts(n, kernel_size) for n in value.shape[2:4])
    windows = windows[:, :, rows][:, :, :, columns].flatten(-2)
    return (windows @ weights.unsqueeze(-1)).squeeze(-1)


def by_shifts(weights: Tensor, value: Tensor, kernel_size: int) -> Tensor:
    """The product as a sum over the places of the windows."""
    rows, columns = (window_starts(n, kernel_size) for n in value.shape[2:4])
    out = torch.zeros_like(value)
    for i in range(kernel_size):
        row = value.index_select(2, rows + i)
        for j in range(kernel_size):
            weight = weights[..., i * kernel_size + j, None]
            out = out.addcmul(row.index_select(3, columns + j), weight)
    return out


FORMS = dict(mmrep=neighbourhood_product, shifts=by_shifts, windows=by_windows)


def find_calls(network: nn.Module, size: int) -> Dict[Shape, int]:
    """How often a network makes each product for one image."""
    calls: Dict[Shape, int] = Counter()

    def counted(weights: Tensor, value: Tensor, kernel_size: int) -> Tensor:
        calls[tuple(value.shape), kernel_size] += 1
        return neighbourhood_product(weights, value, kernel_size)

    with mock.patch.object(contmix, 'neighbourhood_product', counted):
        with torch.inference_mode():
            network(torch.randn(1, 3, size, size))
    return calls


def time_call(shape: Shape, backward: bool, repeats: int) -> Dict[str, float]:
    """Median milliseconds of each form."""
    (batch, heads, height, width, channels), kernel_size = shape
    weights = torch.randn(batch, heads, height, width, kernel_size**2)
    # heads after the positions in memory, as in the model
    value = torch.randn(batch, height, width, heads, channels)
    value = value.permute(0, 3, 1, 2, 4)
    for tensor in (weights, value):
        tensor.requires_grad_(backward)

    def call(function: Any) -> None:
        out = function(weights, value, kernel_size)
        if backward:
            torch.autograd.grad(out.sum(), (weights, value))

    return time_in_turn(
        {name: partial(call, form) for name, form in FORMS.items()},
        'cpu',
        seconds=0,
        least=repeats,
    )


def table(rows: List[Dict[str, Any]]) -> str:
    lines = [
        '| map (heads × H × W × C) | K | calls | mmrep (ms) '
        '| shifts, times as long | windows, times as long | windows (MB) |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        ms = row['ms']
        cells = [
            '×'.join(map(str, row['shape'][1:])),
            f'{row["kernel_size"]}',
            f'{row["calls"]}',
            f'{ms["mmrep"]:.1f}',
            f'{ms["shifts"] / ms["mmrep"]:.1f}',
            f'{ms["windows"] / ms["mmrep"]:.1f}',
            f'{row["windows"] / 1e6:.0f}',
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    if args.size < 32:
        raise UsageError(f'--size must be at least 32, got {args.size}.')
    cfg = load_config(args.config, args.cfg_options)
    calls = find_calls(load_backbone(cfg).eval(), args.size)
    if not calls:
        raise UsageError(f'{args.config} has no neighbourhood product.')
    rows = []
    for (shape, kernel_size), count in calls.items():
        elements = torch.Size(shape).numel() * kernel_size**2
        ms = time_call((shape, kernel_size), args.backward, args.repeats)
        rows.append(
            dict(
                shape=shape,
                kernel_size=kernel_size,
                calls=count,
                windows=4 * elements,
                ms=ms,
            )
        )
    print(table(rows))
    if args.out:
        settings = dict(
            threads=torch.get_num_threads(),
            size=args.size,
            repeats=args.repeats,
            backward=args.backward,
        )
        write_json(args.out, {**facts(), **settings, 'rows': rows})


if __name__ == '__main__':
    run(main)
