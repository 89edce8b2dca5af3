"""Time the depth-wise operator and nn.Conv2d; print tables, write JSON.

    python tools/benchmarks/benchmark_op.py    # CPU, about 8 minutes
    python tools/benchmarks/benchmark_op.py --device cuda --out DIR
    python tools/benchmarks/benchmark_op.py --toy    # a GPU's, on a CPU

It needs only PyTorch (and Triton on a GPU). Sections:

    targets  K >= 27 on maps of 32 to 128, batch 1 to 2 (CPU)
    grid     a sample of K 3 to 51, C 64 to 1024, maps 14 to 256, batch 1 to 8
    network  RepLKNet-31B, deploy form, one 512x512 image (CPU; OpenMMLab)
    memory   peak memory of one forward, 1x128x256x512, K=31
    compile  Triton's kernels, ahead and in parallel (GPU)
    check    every backend against nn.Conv2d in double (GPU)
    dense    dense-prediction shapes, 4 types (GPU)
    table1   24 layers, batch 64, 384 channels (GPU)
    tuned    dense shapes with autotuning, bf16 (GPU)

Times are medians in milliseconds from one run, on a GPU by CUDA events. In
'targets', methods that take over 3 seconds run once; in 'grid', methods that
take 4 times as long as the fastest run twice, and the shorter time counts.
'dense' and 'table1' name the kernels that ran, and say whether they are ATen's
or cuDNN's. --toy runs the GPU sections at toy size, with Triton in its
interpreter, to test their code; the times mean nothing.
"""

import argparse
import copy
import functools
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

# Sections by device, each with the share of the time when it must end.
SECTIONS = {
    'cpu': {'memory': 0.05, 'targets': 0.4, 'network': 0.65, 'grid': 1.0},
    'cuda': {
        'memory': 0.05,
        'compile': 0.22,
        'check': 0.3,
        'dense': 0.55,
        'table1': 0.77,
        'tuned': 0.9,
        'grid': 1.0,
    },
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--device', default='cpu', choices=SECTIONS)
    parser.add_argument('--sections', nargs='+')
    parser.add_argument(
        '--toy', action='store_true', help="run a GPU's sections on the CPU"
    )
    parser.add_argument(
        '--types',
        nargs='+',
        default=['bfloat16', 'float16', 'float32'],
        choices=['bfloat16', 'float16', 'float32'],
        help='of the sections dense and table1',
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/op'))
    parser.add_argument('--seconds', type=float, default=440)
    parser.add_argument('--seed', type=int, default=1, help='of the grid')
    parser.add_argument('--elements', type=float, help='most, in the grid')
    args = parser.parse_args()
    if args.elements is None:
        args.elements = 17e6 if args.device == 'cpu' else 6e7
    if args.toy and args.device == 'cuda':
        parser.error('--toy is for a machine without a GPU')
    known = SECTIONS['cuda' if args.toy else args.device]
    args.sections = args.sections or list(known)
    unknown = set(args.sections) - set(known)
    if unknown:
        parser.error(
            f'sections on {args.device} are {list(known)}, '
            f'got {sorted(unknown)}'
        )
    return args


if __name__ == '__main__':
    parse_args()  # --help is answered before the imports, which take seconds

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from op_shapes import SHAPES, TARGETS, TOY

from mmrep.files import write_json
from mmrep.machine import facts
from mmrep.ops import (
    DepthwiseConv2d,
    available_backends,
    depthwise_conv2d,
)
from mmrep.ops.backends import triton
from mmrep.ops.backends.base import first_line
from mmrep.ops.benchmark import (
    ENDS,
    GRID_CHANNELS,
    GRID_MAPS,
    WAYS,
    Clock,
    auto_ratios,
    ceilings,
    check_one,
    cuda_peak,
    draw_shape,
    library_of,
    rates,
    time_grid_shape,
    time_problem,
)

TYPES = [
    # type, TF32 allowed
    (torch.bfloat16, True),
    (torch.float16, True),
    (torch.float32, True),
    (torch.float32, False),
]


def run_targets(clock, args):
    """CPU shapes where the operator must be 20 times as fast as nn.Conv2d."""
    result = []
    for n, c, size, k in TARGETS:
        if result and time.perf_counter() > args.end:
            print(f'no time left for {(n, c, size, k)}')
            break
        shape = (n, c, size, size)
        rows = time_problem(shape, (k, k), torch.float32, clock, limit=3000)
        result.append({'shape': shape, 'kernel': k, 'times': rows})
        show(result[-1])
    worst = {
        way: min(
            r['times']['conv'][way] / r['times']['auto'][way] for r in result
        )
        for way in WAYS
    }
    print(
        f'auto against nn.Conv2d contiguous, worst shape: forward '
        f'{worst["forward"]:.1f}x, forward + backward {worst["both"]:.1f}x'
    )
    return {'rows': result, 'worst ratio': worst}


def run_grid(clock, args):
    """Check that 'auto' takes the best backend and is never slower."""
    rng = random.Random(args.seed)
    result = []
    while time.perf_counter() < args.end:
        n, c, size, k = draw_shape(rng, args.elements, args.macs)
        shape = (n, c, size, size)
        row = {'shape': shape, 'kernel': k}
        row['times'] = time_grid_shape(shape, k, clock)
        result.append(row)
        show(row)
    if not result:
        print('no time left for the grid')
        return None
    return {'rows': result, 'summary': summarise(result)}


def summarise(rows):
    """How often auto is near the best backend, and its worst ratios."""
    summary = {}
    for way in WAYS:
        found = [auto_ratios(row['times'], way) for row in rows]
        found = [ratios for ratios in found if ratios]
        if not found:
            continue
        near = [r['best'] for r in found]
        summary[way] = {
            'shapes': len(near),
            'within 10 % of the best backend': sum(r <= 1.1 for r in near)
            / len(near),
            'worst against the best backend': max(near),
        }
        for end in ENDS:
            against = [r[f'nn.Conv2d{end}'] for r in found]
            summary[way][f'against nn.Conv2d{end}'] = {
                'slower by over 10 %': sum(r > 1.1 for r in against),
                'worst': max(against),
            }
        print(f'{way}: {json.dumps(summary[way], indent=1)}')
    return summary


def run_memory(clock, args):
    """Peak memory that a forward adds, relative to the input's size."""
    shape, k = (1, 128, 256, 512), 31
    if clock.device == 'cuda':
        result = {
            name: cuda_peak(shape, k, name)
            for name in ('auto', *available_backends('cuda'))
        }
        print(f'memory, times the input: {result}')
        return result
    result = {}
    for name in ('auto', 'fft', 'native'):
        code = (
            'import sys, runpy; sys.argv = [sys.argv[1]]; '
            f'm = runpy.run_path({str(Path(__file__).resolve())!r}); '
            f'm["cpu_peak"]({shape!r}, {k}, {name!r})'
        )
        out = subprocess.run(
            [sys.executable, '-c', code, __file__],
            capture_output=True,
            text=True,
            check=True,
        )
        result[name] = json.loads(out.stdout)
        print(f'memory, {name}: {result[name]:.2f} times the input')
    return result


def cpu_peak(shape, k, name):
    """Print the peak memory of one forward, in sizes of its input."""
    x = torch.randn(shape)
    weight = torch.randn(shape[1], 1, k, k)
    with torch.no_grad():
        # libraries and threads start outside the measurement
        depthwise_conv2d(x[:, :8, :64, :64], weight[:8], backend=name)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        depthwise_conv2d(x, weight, backend=name)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) * 1024 / (x.numel() * 4))


def run_network(clock, args):
    """RepLKNet-31B in deploy form on one 512x512 image, by layout."""
    try:
        from mmrep.deploy import fuse_conv_bn
        from mmrep.models import RepLKNet
    except ImportError as error:
        print(f'network skipped, it needs OpenMMLab: {error}')
        return None
    authors = RepLKNet('31B').eval()
    authors.switch_to_deploy()
    fused = fuse_conv_bn(copy.deepcopy(authors))
    x = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        want = fused(x)
    runs = {}
    for name, source, conv2d, last in (
        ("the authors' form", authors, True, False),
        ('nn.Conv2d, BN folded', fused, True, False),
        ('nn.Conv2d, BN folded, channels_last', fused, True, True),
        ('mmrep', fused, False, False),
        ('mmrep, channels_last', fused, False, True),
    ):
        model, image = copy.deepcopy(source), x
        if conv2d:
            for layer in model.modules():
                if isinstance(layer, DepthwiseConv2d):
                    layer.__class__ = torch.nn.Conv2d
        if last:
            model = model.to(memory_format=torch.channels_last)
            image = x.to(memory_format=torch.channels_last)
        runs[name] = torch.no_grad()(functools.partial(model, image))
        for a, b in zip(runs[name](), want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    # the lower limit for any operator: the last form without its large kernels
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, DepthwiseConv2d) and layer.stride == (1, 1):
                setattr(parent, name, torch.nn.Identity())
    run = torch.no_grad()(functools.partial(model, image))
    runs['mmrep, channels_last, without the large kernels'] = run
    times = clock.together(runs)
    for name, ms in times.items():
        ratio = times["the authors' form"] / ms
        print(f'RepLKNet-31B, {name}: {ms:.0f} ms, {ratio:.1f}x')
    return times


def run_check(clock, args):
    """Every backend against nn.Conv2d in double, on the GPU."""
    result = []
    tolerance = {
        torch.float32: 1e-3,
        torch.float16: 4e-3,
        torch.bfloat16: 2e-2,
    }
    for shape, kernel in args.shapes['check']:
        for dtype in tolerance:
            for name in available_backends(clock.device, dtype):
                if name == 'native':
                    continue
                try:
                    errors = check_one(
                        shape, kernel, dtype, name, clock.device
                    )
                except Exception as error:
                    errors = [first_line(error)]
                good = all(
                    not isinstance(e, str) and e <= tolerance[dtype]
                    for e in errors
                )
                result.append(
                    {
                        'shape': shape,
                        'kernel': kernel,
                        'dtype': str(dtype),
                        'backend': name,
                        'errors': errors,
                        'good': good,
                    }
                )
                if not good:
                    print(f'WRONG: {result[-1]}')
                args.save(result)
    print(f'{sum(r["good"] for r in result)} of {len(result)} checks good')
    return result


def run_dense(clock, args):
    """Dense-prediction shapes in four arithmetics."""
    return run_typed(clock, args, args.shapes['dense'])


def run_table1(clock, args):
    """The paper's Table 1; times are of one of its 24 equal layers."""
    return run_typed(clock, args, args.shapes['table1'])


def run_typed(clock, args, shapes):
    result = []
    types = [kind for kind in TYPES if name_of(kind[0]) in args.types]
    for i, (dtype, tf32) in enumerate(types):
        allow_tf32(tf32)
        peak, bandwidth = ceilings(dtype, clock)
        # what one type leaves is for the next ones, in equal parts
        now = time.perf_counter()
        end = now + (args.end - now) / (len(types) - i)
        # the large kernels first
        for *shape, k in sorted(shapes, key=lambda shape: -shape[-1]):
            if time.perf_counter() > end:
                print(f'no time left for {shape}, K={k}, {dtype}')
                continue
            try:
                rows = time_problem(
                    shape, (k, k), dtype, clock, name_kernels=True, limit=300
                )
            except Exception as error:
                print(f'{shape}, K={k}, {dtype}: {first_line(error)}')
                if clock.device == 'cuda':
                    torch.cuda.synchronize()  # raises if the device is lost
                    torch.cuda.empty_cache()
                continue
            bounds = shape, k, dtype, peak, bandwidth
            result.append(
                {
                    'shape': shape,
                    'kernel': k,
                    'dtype': str(dtype),
                    'tf32': tf32,
                    'times': rows,
                    # each of the two gradients is as much work as a forward
                    'rates': {
                        name: {
                            'forward': rates(ms['forward'], *bounds),
                            'both': rates(ms['both'] / 3, *bounds),
                        }
                        for name, ms in rows.items()
                    },
                }
            )
            show(result[-1])
            args.save(result)
        compare(
            [
                r
                for r in result
                if (r['dtype'], r['tf32']) == (str(dtype), tf32)
            ]
        )
    allow_tf32(True)
    if not result:
        raise RuntimeError('nothing was measured')
    return result


def name_of(dtype):
    """The name that a user types."""
    return str(dtype).rpartition('.')[2]


def allow_tf32(allowed):
    """Set TF32 for convolutions and for matrix products."""
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def compare(rows):
    """Print how many times as fast auto is, at worst and at K >= 27."""
    for way in WAYS:
        against = {'nn.Conv2d': [], 'the extension': []}
        shares = []
        for row in rows:
            times = {name: t[way] for name, t in row['times'].items()}
            known = [t for n, t in times.items() if n.startswith('conv')]
            if 'auto' not in times or not known:
                continue
            large = row['kernel'] >= 27
            ratio = min(known) / times['auto']
            against['nn.Conv2d'].append((ratio, large))
            if 'extension' in times:
                ratio = times['extension'] / times['auto']
                against['the extension'].append((ratio, large))
            if 'triton' in times and large:
                rate = row['rates']['triton'][way]
                shares.append(rate['of the Toeplitz bound'])
        for name, ratios in against.items():
            if ratios:
                most = [f'{r:.1f}x' for r, large in ratios if large]
                print(
                    f'{rows[0]["dtype"]}, {way}, auto against {name} (better '
                    f'layout): worst {min(ratios)[0]:.2f}x, K >= 27: {most}'
                )
        if shares:
            text = ', '.join(f'{share:.0%}' for share in shares)
            print(f'share of the Toeplitz bound at K >= 27: {text}')


def run_compile(clock, args):
    """Compile the kernels of the later sections, in several processes."""
    jobs = [
        (shape, k, dtype, tf32, False)
        for dtype, tf32 in TYPES
        for *shape, k in args.shapes['dense'] + args.shapes['table1']
    ]
    for *shape, k in args.shapes['tuned']:
        jobs.append((shape, k, torch.bfloat16, True, True))
    start = time.perf_counter()
    context = multiprocessing.get_context('spawn')
    done, failed = 0, 0
    with context.Pool(min(12, os.cpu_count())) as pool:
        attempt = functools.partial(compile_one, device=clock.device)
        results = pool.imap_unordered(attempt, jobs)
        try:
            for _ in jobs:
                error = results.next(max(0.1, args.end - time.perf_counter()))
                done += 1
                if error:
                    failed += 1
                    print(f'does not compile: {error}')
        except multiprocessing.TimeoutError:
            print('no time left to compile')
    seconds = time.perf_counter() - start
    print(f'{done} of {len(jobs)} tried in {seconds:.0f} s, {failed} failed')
    return {
        'jobs': len(jobs),
        'done': done,
        'failed': failed,
        'seconds': seconds,
    }


def compile_one(job, device):
    """Run the Triton kernels of one problem; return what went wrong."""
    shape, k, dtype, tf32, every = job
    allow_tf32(tf32)
    errors = []

    def attempt(run, *args):
        try:
            return run(*args)
        except Exception as error:
            # what fails here also fails in the timing, and is reported there
            errors.append(f'{shape}, K={k}, {dtype}: {first_line(error)}')

    def tensors():
        x = torch.randn(shape, device=device, dtype=dtype)
        return x, x.new_empty(shape[1], 1, k, k).normal_()

    made = attempt(tensors)
    for kind, call in triton_calls(*made).items() if made else ():
        problem = triton.Problem.of(*made)
        configs = triton.candidates(problem, kind) if every else [None]
        for config in configs:
            attempt(call, config)
    return '; '.join(errors)


def triton_calls(x, weight):
    """The kernels by kind, as functions of a configuration."""
    return {
        'forward': lambda config: triton.forward(x, weight, config=config),
        'grad_weight': lambda config: triton.grad_weight(x, x, weight, config),
    }


def run_tuned(clock, args):
    """Triton with autotuning: the forward and both gradients."""
    dtype = torch.bfloat16
    peak, bandwidth = ceilings(dtype, clock)
    result = []
    for *shape, k in args.shapes['tuned']:
        if time.perf_counter() > args.end:
            break
        x = torch.randn(shape, device=clock.device, dtype=dtype)
        weight = x.new_empty(shape[1], 1, k, k).normal_()
        problem = triton.Problem.of(x, weight)
        row = {'shape': shape, 'kernel': k}
        for kind, call in triton_calls(x, weight).items():
            times = {}
            default, *others = triton.candidates(problem, kind)
            for config in (default, *others):
                try:
                    times[config] = clock(functools.partial(call, config))
                except Exception as error:
                    print(f'{config} does not run: {first_line(error)}')
            if not times:
                continue
            best = min(times, key=times.get)
            row[kind] = {
                'ms': times[best],
                'config': best._asdict(),
                'default ms': times.get(default),
                'all': [[*c, ms] for c, ms in times.items()],
                **rates(times[best], shape, k, dtype, peak, bandwidth),
            }
            print(shape, k, kind, best, f'{times[best]:.3f} ms', flush=True)
        result.append(row)
        args.save(result)
    return result


def show(row):
    """One line of the table: forward / forward + backward."""
    text = 'x'.join(map(str, row['shape'])) + f' K{row["kernel"]}'
    if 'dtype' in row:
        text += f' {row["dtype"][6:]}{"" if row["tf32"] else " no tf32"}'
    parts = []
    for name, ms in row['times'].items():
        library = library_of(ms.get('kernels', ()))
        name += f' ({library})' if library else ''
        parts.append(f'{name} {ms["forward"]:.2f}/{ms["both"]:.2f}')
    print(f'{text}: {", ".join(parts)}', flush=True)


def main():
    args = parse_args()
    least = min(GRID_CHANNELS) * min(GRID_MAPS) ** 2
    if args.elements < least:
        sys.exit(f'error: --elements must be at least {least}')
    # a plain convolution on a CPU drops to 2 GFLOP/s
    args.macs = 5e9 if args.device == 'cpu' else 1e12
    args.shapes = TOY if args.toy else SHAPES
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: --device cuda: this PyTorch sees no CUDA device')
    args.out.mkdir(parents=True, exist_ok=True)
    few = args.device == 'cuda'
    clock = Clock(args.device, 0.06 if few else 0.4, 30 if few else 25)
    torch.backends.cudnn.benchmark = True
    about = facts(args.device)
    start = time.perf_counter()
    failed = []
    known = SECTIONS['cuda' if args.toy else args.device]
    for section in args.sections:
        share = known[section] if len(args.sections) > 1 else 1
        args.end = start + share * args.seconds
        path = args.out / f'op_{section}_{args.device}.json'

        def save(result, path=path, section=section):
            # as it comes, because the rest may not come
            write_json(path, {**about, section: result})

        args.save = save
        try:
            result = globals()[f'run_{section}'](clock, args)
        except Exception as error:
            # the other sections are still useful
            print(f'{section} failed: {first_line(error)}')
            failed.append(section)
            continue
        if result is None:
            continue
        save(result)
        print(f'wrote {path}')
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
