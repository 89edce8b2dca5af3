"""Compare backbones: kernels, parameters, FLOPs, time, and receptive field.

The backbones of the configs have random weights and are in deploy form. They
take turns in this process, so the times come from one run. FLOPs are
multiply-adds. --erf reads the results of tools/analysis/erf.py for the same
configs.

    tools/benchmarks/benchmark_backbones.py CONFIG [CONFIG ...] --out JSON
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

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
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='configs of segmentors, detectors, classifiers or backbones',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=512,
        help='width and height of the timed image (default: 512)',
    )
    parser.add_argument(
        '--repeats',
        type=positive,
        default=5,
        help='turns of each backbone; the median counts (default: 5)',
    )
    parser.add_argument(
        '--erf', metavar='JSON', help='erf.json of tools/analysis/erf.py'
    )
    parser.add_argument('--out', metavar='JSON', help='file for the results')
    add_config_options(parser)
    return parse_arguments(parser)


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch
from torch import nn

from mmrep.analysis.backbones import load_backbone
from mmrep.analysis.complexity import count
from mmrep.deploy import to_deploy_form
from mmrep.engine import load_config
from mmrep.engine.cli import run
from mmrep.errors import UsageError, one_line
from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.ops.timing import time_in_turn

COUNTED_AT = 224  # as in the papers
LARGE = 5


def kernels(network: nn.Module) -> List[str]:
    """Sizes of the depth-wise kernels from 5 on, the largest first."""
    sizes = {
        m.kernel_size
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
        and m.groups == m.in_channels > 1
        and max(m.kernel_size) >= LARGE
    }
    ordered = sorted(sizes, key=lambda size: (-max(size), size))
    return [f'{height}×{width}' for height, width in ordered]


def describe(name: str, network: nn.Module) -> Dict[str, Any]:
    found = count(network, (COUNTED_AT, COUNTED_AT))
    return dict(
        name=name,
        kernels=kernels(network),
        params=found.params,
        flops=found.flops,
    )


def time_all(
    networks: Dict[str, nn.Module], size: int, repeats: int
) -> Dict[str, float]:
    """Median milliseconds of each network for one image."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    image = torch.randn(1, 3, size, size, device=device)
    with torch.inference_mode():
        return time_in_turn(
            {
                name: partial(network.to(device), image)
                for name, network in networks.items()
            },
            device,
            seconds=0,
            least=repeats,
        )


def add_erf(rows: List[Dict[str, Any]], path: str) -> None:
    """Area of the square that holds 99 % of the receptive field."""
    try:
        report = json.loads(Path(path).read_text())
        areas = {m['name']: m['areas'][-1] for m in report['models']}
        for row in rows:
            row['erf'] = areas[row['name']]['ratio']
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f'--erf must be erf.json of tools/analysis/erf.py for the same '
            f'configs, got {path!r}: {one_line(error, kind=True)}'
        ) from error


def table(rows: List[Dict[str, Any]], size: int) -> str:
    lines = [
        f'| backbone of | depth-wise kernels | parameters (M) | FLOPs at '
        f'{COUNTED_AT} (G) | ms at {size}×{size} | ERF at 99 % |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        erf = row.get('erf')
        cells = [
            row['name'],
            ', '.join(row['kernels']) or 'none',
            f'{row["params"] / 1e6:.1f}',
            f'{row["flops"] / 1e9:.1f}',
            f'{row["ms"]:.0f}',
            'not measured' if erf is None else f'{erf * 100:.0f} %',
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    if args.size < 32:
        raise UsageError(f'--size must be at least 32, got {args.size}.')
    names = [Path(path).stem for path in args.configs]
    if len({*names}) < len(names):
        raise UsageError(f'each config must be given once, got {names}.')
    networks = {
        name: to_deploy_form(
            load_backbone(load_config(path, args.cfg_options))
        )
        for name, path in zip(names, args.configs, strict=True)
    }
    rows = [describe(name, network) for name, network in networks.items()]
    if args.erf:
        add_erf(rows, args.erf)
    times = time_all(networks, args.size, args.repeats)
    for row in rows:
        row['ms'] = times[row['name']]
    print(table(rows, args.size))
    if args.out:
        settings = dict(
            threads=torch.get_num_threads(),
            size=args.size,
            repeats=args.repeats,
        )
        write_json(args.out, {**facts(), **settings, 'rows': rows})


if __name__ == '__main__':
    run(main)
