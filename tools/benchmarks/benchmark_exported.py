"""Measure the time of a picture in an exported model, in all and by part.

It adds up ONNX Runtime's profile of the nodes over the network (with the heads
on its maps), NMS, RoIAlign, the RoI heads and the pasting of masks. All
numbers come from the same runs; the picture is noise.

    tools/benchmarks/benchmark_exported.py model.onnx --shape 800 1344
"""

import argparse
import json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'file', help='an .onnx file written by tools/export.py'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="size of the picture (default: the file's test scale)",
    )
    parser.add_argument(
        '--runs',
        type=int,
        default=5,
        help='runs; the median counts (default: 5)',
    )
    parser.add_argument('--out', metavar='JSON', help='file for the results')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

from mmrep.deploy.runtime import ExportedFile
from mmrep.deploy.runtime.parts import cost_of_parts
from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import write_json
from mmrep.machine import facts


def main() -> None:
    args = parse_args()
    if not args.file.endswith('.onnx'):
        raise UsageError(f'the file must end in .onnx, got {args.file!r}.')
    if args.runs < 1:
        raise UsageError(f'--runs must be positive, got {args.runs}.')
    about = ExportedFile(args.file).about
    if not args.shape and 'scale' not in about:
        raise UsageError(f'{args.file} has no test scale; give --shape.')
    size = args.shape or sorted(json.loads(about['scale']))
    costs = cost_of_parts(args.file, tuple(size), args.runs)
    print('| part | milliseconds | percent |\n| --- | --- | --- |')
    for part, cost in costs.items():
        share = 100 * cost / costs['whole']
        print(f'| {part} | {cost:.4g} | {share:.3g} |')
    if args.out:
        result = dict(facts('cpu'), model=about['model'], shape=size)
        write_json(args.out, dict(result, milliseconds=costs))


if __name__ == '__main__':
    run(main)
