"""Measure the operator's algorithms and fit the cost model of 'auto'.

    python tools/benchmarks/fit_op_dispatch.py measure --out FILE.json
    python tools/benchmarks/fit_op_dispatch.py fit FILE.json [FILE.json ...]
    python tools/benchmarks/fit_op_dispatch.py compile    # before measuring

``measure`` times every algorithm on random shapes, on an otherwise idle
machine, without autotuning, as 'auto' runs them. On a GPU ``compile`` first
compiles the Triton kernels that these shapes need, in several processes: a
kernel takes a second, in which no measurement can run. ``fit`` writes
mmrep/ops/backends/coefficients.py: non-negative coefficients that minimise the
relative error. Measurements of several devices and types may be passed
together; entries of the table that they do not cover stay the same.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    part = commands.add_parser('measure', help='time random shapes')
    part.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    part.add_argument(
        '--dtype',
        default='float32',
        choices=['float32', 'float16', 'bfloat16', 'float64'],
    )
    part.add_argument('--seconds', type=float, default=400)
    part.add_argument(
        '--elements', type=float, default=17e6, help='of the largest input'
    )
    part.add_argument(
        '--longest',
        type=float,
        default=1000,
        help='milliseconds above which an algorithm is skipped',
    )
    part.add_argument(
        '--each', type=float, default=0.1, help='seconds for an algorithm'
    )
    part.add_argument('--seed', type=int, default=0)
    part.add_argument('--out', type=Path, required=True)
    part = commands.add_parser('compile', help='compile for random shapes')
    part.add_argument('--device', default='cuda', choices=('cpu', 'cuda'))
    part.add_argument('--seconds', type=float, default=60)
    part.add_argument('--elements', type=float, default=17e6)
    part.add_argument('--shapes', type=int, default=80, help='for each type')
    part.add_argument('--seed', type=int, default=0)
    part = commands.add_parser('fit', help='write coefficients.py')
    part.add_argument('data', nargs='+')
    part.add_argument(
        '--out', type=Path, help='file to write instead of the module itself'
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmrep.files import WriteError, replaced, write_text
from mmrep.machine import facts
from mmrep.ops import measuring
from mmrep.ops.backends import BACKENDS, OWNER, base, coefficients
from mmrep.ops.problem import Problem, uses_tf32

TABLE = Path(coefficients.__file__)
COLUMNS = ('shape', 'kernel', 'channels_last', 'direction', 'milliseconds')
KERNELS = (3, 3, 5, 7, 9, 11, 13, 15, 17, 21, 25, 27, 29, 31, 41, 51)
MAPS = (7, 10, 14, 16, 20, 28, 32, 40, 56, 64, 80, 96, 112, 128, 192, 256)
CHANNELS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
BATCHES = (1, 1, 2, 4, 8)
# The forward is chosen most often.
DIRECTIONS = ('forward', 'forward', 'grad_input', 'grad_weight')


def random_problem(rng, device, dtype, most_elements):
    """A random shape that fits in memory and time."""
    # keep the map and the kernel, or large ones would be rare
    h = rng.choice(MAPS)
    w = h if rng.random() < 0.7 else rng.choice(MAPS)
    k = rng.choice(KERNELS)
    kernel = (k, k)
    if rng.random() < 0.1:
        kernel = rng.choice(((k, 5), (5, k)))
    last = rng.random() < 0.5
    while True:
        n, c = rng.choice(BATCHES), rng.choice(CHANNELS)
        if n * c * h * w <= most_elements:
            return Problem(
                device,
                dtype,
                (n, c, h, w),
                kernel,
                last,
                tf32=uses_tf32(device, dtype),
            )


def draws(args, dtype):
    """Random problems and directions, always in the same order."""
    rng = random.Random(args.seed)
    while True:
        problem = random_problem(rng, args.device, dtype, args.elements)
        yield problem, rng.choice(DIRECTIONS)


def compile_kernels(args):
    """Run Triton on what :func:`measure` will time first."""
    end = time.perf_counter() + args.seconds
    # in turn, as the time may be over before all are done
    each = [
        itertools.islice(draws(args, dtype), args.shapes)
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
    ]
    jobs = [job for some in zip(*each, strict=True) for job in some]
    done = failed = 0
    context = multiprocessing.get_context('spawn')
    with context.Pool(min(12, os.cpu_count())) as pool:
        results = pool.imap_unordered(compile_one, jobs)
        try:
            for _ in jobs:
                error = results.next(max(0.1, end - time.perf_counter()))
                done += 1
                failed += bool(error)
                if error:
                    print(error, flush=True)
        except multiprocessing.TimeoutError:
            print('no time left to compile')
    print(f'{done} of {len(jobs)} shapes tried, {failed} failed')


def compile_one(job):
    """Run one problem once; return what went wrong."""
    problem, direction = job
    try:
        measuring.measure(problem, direction, ['triton'], 0, tune=False)
    except Exception as error:
        return f'{problem}: {base.first_line(error)}'
    return None


def measure(args):
    """Time random problems until the time is over; return the records."""
    records = []
    end = time.perf_counter() + args.seconds
    for problem, direction in draws(args, getattr(torch, args.dtype)):
        if time.perf_counter() >= end:
            break
        names = worth_timing(problem, direction, args.longest)
        if not names:
            continue
        try:
            times = measuring.measure(
                problem, direction, names, args.each, tune=False
            )
        except KeyboardInterrupt:
            print('interrupted: what was measured is kept')
            break
        except RuntimeError as error:  # such as no memory
            print(f'{problem}: {base.first_line(error)}', flush=True)
            try:
                if args.device == 'cuda':
                    torch.cuda.synchronize()
            except RuntimeError:
                print('the device is lost: what was measured is kept')
                break
            continue
        records.append(
            [
                problem.shape,
                problem.kernel,
                problem.channels_last,
                direction,
                {name: round(ms, 4) for name, ms in times.items()},
            ]
        )
    return records


def worth_timing(problem, direction, longest):
    """Algorithms that can run and are not known to take too long."""
    names = []
    for backend in BACKENDS.values():
        if backend.why_not(problem.device, problem.dtype) is not None:
            continue
        for name in backend.algorithms_for(problem.device, direction):
            ms = backend.cost(problem, direction, name)
            if ms is None or ms < longest:
                names.append(name)
    return names


def fit(paths):
    """Coefficients by machine, and by type and name of the model."""
    from scipy.optimize import nnls

    rows = {}
    for path in paths:
        data = json.loads(Path(path).read_text())
        names = {base.machine(data['device'], data['instructions'])}
        if data['device'] == 'cpu' and data['dtype'] == 'float64':
            # oneDNN is not used, so all processors share one model
            names = {'cpu AVX2', 'cpu AVX512'}
        for shape, kernel, last, direction, times in data['records']:
            problem = Problem(
                data['device'],
                getattr(torch, data['dtype']),
                tuple(shape),
                tuple(kernel),
                last,
                # PyTorch's default, if the file does not say
                tf32=data.get('tf32', True),
            )
            label = base.arithmetic(problem)
            for algorithm, ms in times.items():
                owner = OWNER[algorithm]
                key, counts = owner.features(problem, direction, algorithm)
                for name in names:
                    model = name, f'{label}/{key}'
                    rows.setdefault(model, []).append((counts, ms))
    table = {}
    for (machine, key), samples in sorted(rows.items()):
        counts = torch.tensor([s[0] for s in samples], dtype=torch.double)
        ms = torch.tensor([s[1] for s in samples], dtype=torch.double)
        weights = robust(nnls, counts, ms)
        off = ((counts @ weights) / ms).log2().abs()
        print(
            f'{machine} {key}: {len(samples)} samples, off by a factor of '
            f'{2 ** off.median():.2f} (median), '
            f'{2 ** off.quantile(0.9):.2f} (90 %)'
        )
        table.setdefault(machine, {})[key] = [
            float(f'{weight:.3g}') for weight in weights.tolist()
        ]
    return table


def robust(nnls, counts, ms):
    """Minimise the relative error, with less weight on outliers."""
    weight = torch.ones_like(ms)
    for _ in range(10):
        scale = weight / ms
        fitted = torch.from_numpy(
            nnls((counts * scale[:, None]).numpy(), (ms * scale).numpy())[0]
        )
        off = ((counts @ fitted) / ms).clamp(min=1e-3).log().abs()
        weight = 1 / (0.2 + off).sqrt()
    return fitted


def with_the_rest(fitted):
    """The fitted coefficients, and known ones for everything else."""
    table = {}
    for source in (base.COEFFICIENTS, fitted):
        for machine, models in source.items():
            table.setdefault(machine, {}).update(models)
    return table


def write_table(table, path):
    """Write the module."""
    lines = [
        '"""Coefficients of the linear models of the backends\' times.',
        '',
        'Written by fit_op_dispatch.py, by machine, type and model.',
        '"""',
        '',
        '# fmt: off',
        'COEFFICIENTS = {',
    ]
    for machine, models in table.items():
        lines.append(f'    {machine!r}: {{')
        for key, weights in models.items():
            row = f'        {key!r}: {weights},'
            if len(row) > 79:
                numbers = str(weights)[1:-1]
                row = f'        {key!r}: [\n            {numbers}\n        ],'
            lines.append(row)
        lines.append('    },')
    lines.append('}')
    write_text(path, '\n'.join(lines) + '\n')


def main():
    args = parse_args()
    if args.command == 'fit':
        try:
            fitted = fit(args.data)
        except (OSError, json.JSONDecodeError) as error:
            sys.exit(f'error: a file cannot be read: {error}')
        write_table(with_the_rest(fitted), args.out or TABLE)
        return
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: --device cuda: this PyTorch sees no CUDA device')
    least = CHANNELS[0] * MAPS[-1] ** 2
    if args.elements < least:
        sys.exit(f'error: --elements must be at least {least}, one large map')
    if args.command == 'compile':
        compile_kernels(args)
        return
    try:
        with replaced(args.out) as draft:
            # measurements must not be lost because a folder is missing
            draft.touch()
            result = {
                **facts(args.device),
                'dtype': args.dtype,
                'tf32': uses_tf32(args.device, getattr(torch, args.dtype)),
                'columns': COLUMNS,
                'records': measure(args),
            }
            draft.write_text(json.dumps(result, separators=(',', ':')))
    except WriteError as error:
        sys.exit(f'error: --out: {error}')
    print(f'{len(result["records"])} shapes in {args.out}')


if __name__ == '__main__':
    main()
