"""Time the depth-wise operator beside nn.Conv2d; print tables, write JSON.

    python tools/benchmark_op.py                      # CPU, about 8 minutes
    python tools/benchmark_op.py --device cuda --out DIR    # one GPU

Needs PyTorch alone (and Triton on a GPU). Sections:

    targets  K >= 27 on maps of 32 to 128, batch 1 to 2 (CPU)
    grid     a sample of K 3 to 51, C 64 to 1024, maps 14 to 256, batch 1 to 8
    memory   peak memory of one forward, 1x128x256x512, K=31
    check    every backend against nn.Conv2d in double (GPU)
    dense    dense-prediction shapes, 4 types (GPU)
    table1   24 layers, batch 64, 384 channels (GPU)
    tuned    dense shapes with autotuning, bf16 (GPU)

Times are medians in milliseconds of one run: on a GPU by CUDA events. What
takes seconds on a CPU (over 3 in 'targets', 0.2 in 'grid') runs once.
"""

import argparse
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmrep.ops import DepthwiseConv2d, depthwise_conv2d  # noqa: E402
from mmrep.ops.backends import triton  # noqa: E402
from mmrep.ops.dispatch import available_backends  # noqa: E402

# Sections by device, each with the share of the time after which it ends.
SECTIONS = {
    'cpu': {'memory': 0.1, 'targets': 0.6, 'grid': 1.0},
    'cuda': {
        'memory': 0.05,
        'check': 0.15,
        'dense': 0.45,
        'table1': 0.65,
        'tuned': 0.85,
        'grid': 1.0,
    },
}
TARGETS = [
    # N, C, map, K
    (1, 128, 128, 31),
    (2, 128, 128, 31),
    (1, 256, 64, 29),
    (2, 256, 64, 29),
    (1, 512, 32, 27),
    (2, 512, 32, 27),
    (2, 128, 56, 31),
    (1, 64, 96, 51),
]
DENSE = [
    (n, *shape)
    for n in (1, 2, 8)
    for shape in (
        (128, 128, 128, 31),
        (256, 64, 64, 29),
        (512, 32, 32, 27),
        (1024, 16, 16, 13),
    )
] + [(1, 128, 256, 512, 31), (1, 128, 200, 320, 31)]
TABLE1 = [
    (64, 384, size, size, k)
    for size in (16, 32, 64)
    for k in (3, 7, 13, 21, 31)
]
TUNED = [DENSE[0], DENSE[10], DENSE[2], TABLE1[-1], DENSE[3]]


class Clock:
    """Times functions on one device."""

    def __init__(self, device, seconds, most):
        self.device, self.seconds, self.most = device, seconds, most

    def __call__(self, run):
        """Median milliseconds of runs after a first one."""
        return self.together({'run': run})['run']

    def together(self, runs, limit=float('inf')):
        """Medians of several functions, run in turn so that all see the
        same machine. A slow one takes part in fewer rounds; one above
        ``limit`` milliseconds is out of the race after its first run."""
        times, rounds = {}, {}
        for name, run in runs.items():
            times[name] = [self.once(run)]
            if times[name][0] > limit:
                rounds[name] = 0
                continue
            ms = self.once(run)
            times[name] = []
            rounds[name] = max(3, min(self.most, int(self.seconds / ms * 1e3)))
        for i in range(max(rounds.values())):
            for name, run in runs.items():
                if i >= rounds[name]:
                    continue
                if rounds[name] > 3:
                    # no advantage for whoever follows a similar one
                    run()
                times[name].append(self.once(run))
        return {name: statistics.median(t) for name, t in times.items()}

    def once(self, run):
        if self.device == 'cpu':
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in '12')
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)


def layers(channels, kernel, device, dtype):
    """What is compared: name to (layer, channels_last)."""
    kwargs = {
        'in_channels': channels,
        'out_channels': channels,
        'kernel_size': kernel,
        'padding': (kernel[0] // 2, kernel[1] // 2),
        'groups': channels,
        'bias': False,
        'device': device,
        'dtype': dtype,
    }
    conv, auto = torch.nn.Conv2d(**kwargs), DepthwiseConv2d(**kwargs)
    found = {
        'conv': (conv, False),
        'conv channels_last': (conv, True),
        'auto': (auto, False),
        'auto channels_last': (auto, True),
    }
    for name in available_backends(device, dtype):
        found[name] = DepthwiseConv2d(**kwargs, backend=name), False
    extension = published_extension()
    if extension and dtype != torch.bfloat16 and device == 'cuda':
        layer = extension(channels, max(kernel)).to(device, dtype)
        found['extension'] = layer, False
    return found


def published_extension():
    """The published implicit-GEMM layer, where it is installed."""
    try:
        from depthwise_conv2d_implicit_gemm import DepthWiseConv2dImplicitGEMM
    except ImportError:
        return None
    return DepthWiseConv2dImplicitGEMM


def time_problem(shape, kernel, dtype, clock, limit=float('inf')):
    """Times of each method: {name: {'forward': ms, 'both': ms}}."""
    device = clock.device
    x = torch.randn(shape, device=device, dtype=dtype)
    grad = torch.randn(shape, device=device, dtype=dtype)
    forward, both = {}, {}
    found = layers(shape[1], kernel, device, dtype)
    for name, (layer, last) in found.items():
        layout = torch.channels_last if last else torch.contiguous_format
        input_ = x.detach().to(memory_format=layout).requires_grad_()
        g = grad.to(memory_format=layout)

        def run_forward(layer=layer, x=input_):
            with torch.no_grad():
                layer(x)

        def run_both(layer=layer, x=input_, g=g):
            torch.autograd.grad(layer(x), (x, layer.weight), g)

        forward[name], both[name] = run_forward, run_both
    forward = clock.together(forward, limit)
    both = clock.together(both, limit)
    return {
        name: {'forward': forward[name], 'both': both[name]} for name in found
    }


def run_targets(clock, args):
    """CPU shapes where the operator must be 20 times nn.Conv2d."""
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
        for way in ('forward', 'both')
    }
    print(
        f'auto against nn.Conv2d contiguous, worst shape: forward '
        f'{worst["forward"]:.1f}x, forward + backward {worst["both"]:.1f}x'
    )
    return {'rows': result, 'worst ratio': worst}


def run_grid(clock, args):
    """Does 'auto' take the best backend, and is it never the slower one."""
    rng = random.Random(1)
    result = []
    most = 4e6 if clock.device == 'cpu' else 6e7
    while time.perf_counter() < args.end:
        n, c = (
            rng.choice((1, 1, 2, 4, 8)),
            rng.choice((64, 128, 256, 512, 1024)),
        )
        size = rng.choice((14, 16, 28, 32, 56, 64, 96, 128, 200, 256))
        k = rng.choice((3, 5, 7, 9, 11, 13, 17, 21, 27, 31, 41, 51))
        if n * c * size * size > most:
            continue
        shape = (n, c, size, size)
        rows = time_problem(shape, (k, k), torch.float32, clock, limit=200)
        result.append({'shape': shape, 'kernel': k, 'times': rows})
        show(result[-1])
    return {'rows': result, 'summary': summarise(result)}


def summarise(rows):
    """How often auto is near the best backend, and its worst ratios."""
    summary = {}
    for way in ('forward', 'both'):
        near, against = [], []
        for row in rows:
            times = row['times']
            auto = times['auto'][way]
            best = min(
                t[way]
                for n, t in times.items()
                if n in ('native', 'fft', 'triton')
            )
            near.append(auto / best)
            against.append(auto / times['conv'][way])
        summary[way] = {
            'shapes': len(near),
            'within 10 % of the best backend': sum(r <= 1.1 for r in near)
            / len(near),
            'worst against the best backend': max(near),
            'slower than nn.Conv2d by over 10 %': sum(
                r > 1.1 for r in against
            ),
            'worst against nn.Conv2d': max(against),
        }
        print(f'{way}: {summary[way]}')
    return summary


def run_memory(clock, args):
    """Peak of a forward over what was there before, by the input's size."""
    shape, k = (1, 128, 256, 512), 31
    if clock.device == 'cuda':
        return {
            name: cuda_peak(shape, k, name)
            for name in available_backends('cuda')
        }
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
    """Print the peak of one forward, in sizes of its input."""
    x = torch.randn(shape)
    weight = torch.randn(shape[1], 1, k, k)
    with torch.no_grad():
        # libraries and threads come up outside the measurement
        depthwise_conv2d(x[:, :8, :64, :64], weight[:8], backend=name)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        depthwise_conv2d(x, weight, backend=name)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) * 1024 / (x.numel() * 4))


def cuda_peak(shape, k, name):
    """The peak of one forward on the GPU, in sizes of its input."""
    x = torch.randn(shape, device='cuda')
    weight = torch.randn(shape[1], 1, k, k, device='cuda')
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.no_grad():
        depthwise_conv2d(x, weight, backend=name)
    peak = torch.cuda.max_memory_allocated() - before
    return peak / (x.numel() * 4)


def run_check(clock, args):
    """Every backend against nn.Conv2d in double, on the GPU."""
    result = []
    tolerance = {
        torch.float32: 1e-3,
        torch.float16: 4e-3,
        torch.bfloat16: 2e-2,
    }
    for shape, kernel in (
        ((2, 5, 37, 41), (31, 31)),
        ((3, 7, 16, 16), (13, 13)),
        ((1, 3, 9, 200), (51, 5)),
        ((2, 8, 64, 64), (29, 29)),
        ((1, 4, 128, 128), (31, 31)),
        ((2, 2, 1, 1), (7, 7)),
    ):
        for dtype in tolerance:
            for name in available_backends(clock.device, dtype):
                if name == 'native':
                    continue
                errors = check_one(shape, kernel, dtype, name, clock.device)
                good = max(errors) <= tolerance[dtype]
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
    print(f'{sum(r["good"] for r in result)} of {len(result)} checks good')
    return result


def check_one(shape, kernel, dtype, name, device):
    """Relative errors (norms) of the output and both gradients."""
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
    weight = torch.randn(
        shape[1], 1, *kernel, device=device, dtype=dtype, requires_grad=True
    )
    grad = torch.randn(shape, device=device, dtype=dtype)
    out = depthwise_conv2d(x, weight, backend=name)
    got = (out, *torch.autograd.grad(out, (x, weight), grad))
    exact = [t.detach().double().requires_grad_() for t in (x, weight)]
    padding = kernel[0] // 2, kernel[1] // 2
    want = F.conv2d(*exact, padding=padding, groups=shape[1])
    want = (want, *torch.autograd.grad(want, exact, grad.double()))
    return [
        ((a.double() - b).norm() / b.norm()).item()
        for a, b in zip(got, want, strict=True)
    ]


def run_dense(clock, args):
    """Dense-prediction shapes in four arithmetics."""
    return run_typed(clock, args, DENSE)


def run_table1(clock, args):
    """The paper's Table 1; times are of one of its 24 equal layers."""
    return run_typed(clock, args, TABLE1)


def run_typed(clock, args, shapes):
    torch.backends.cudnn.benchmark = True
    result = []
    for dtype, tf32 in (
        (torch.bfloat16, True),
        (torch.float16, True),
        (torch.float32, True),
        (torch.float32, False),
    ):
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        peak, bandwidth = ceilings(dtype, clock)
        for *shape, k in shapes:
            if time.perf_counter() > args.end:
                break
            rows = time_problem(shape, (k, k), dtype, clock)
            result.append(
                {
                    'shape': shape,
                    'kernel': k,
                    'dtype': str(dtype),
                    'tf32': tf32,
                    'times': rows,
                    'triton': rates(
                        rows['triton']['forward'],
                        shape,
                        k,
                        dtype,
                        peak,
                        bandwidth,
                    ),
                }
            )
            show(result[-1])
    torch.backends.cudnn.allow_tf32 = True
    return result


def run_tuned(clock, args):
    """Triton with autotuning: the forward and both gradients."""
    dtype = torch.bfloat16
    peak, bandwidth = ceilings(dtype, clock)
    result = []
    for *shape, k in TUNED:
        if time.perf_counter() > args.end:
            break
        x = torch.randn(shape, device=clock.device, dtype=dtype)
        weight = torch.randn(
            shape[1], 1, k, k, device=clock.device, dtype=dtype
        )
        calls = {
            'forward': lambda c, x=x, w=weight: triton.forward(x, w, config=c),
            'grad_weight': lambda c, x=x, w=weight: triton.grad_weight(
                x, x, w, c
            ),
        }
        problem = triton.Problem.of(x, weight)
        row = {'shape': shape, 'kernel': k}
        for kind, call in calls.items():
            times = {}
            for config in triton.candidates(problem, kind):
                try:
                    times[config] = clock(lambda c=config, call=call: call(c))
                except triton.failures() as error:
                    reason = str(error).splitlines()[0]
                    print(f'{config} does not run: {reason}')
            best = min(times, key=times.get)
            row[kind] = {
                'ms': times[best],
                'config': best._asdict(),
                'default ms': next(iter(times.values())),
                'all': [[*c, ms] for c, ms in times.items()],
                **rates(times[best], shape, k, dtype, peak, bandwidth),
            }
            print(shape, k, kind, best, f'{times[best]:.3f} ms')
        result.append(row)
    return result


def ceilings(dtype, clock):
    """Measured FLOP/s of a matrix product and bytes/s of a copy."""
    size, room = (8192, 1 << 30) if clock.device == 'cuda' else (64, 1 << 16)
    a, b = (
        torch.randn(size, size, device=clock.device, dtype=dtype) for _ in '12'
    )
    big = torch.ones(room, device=clock.device, dtype=torch.uint8)
    matrix = 2 * size**3 / (clock(lambda: a @ b) / 1e3)
    copy = 2 * room / (clock(lambda: big.clone()) / 1e3)
    return matrix, copy


def rates(ms, shape, k, dtype, peak, bandwidth):
    """Useful TFLOP/s and the shares of the Toeplitz and memory bounds."""
    elements = shape[0] * shape[1] * shape[2] * shape[3]
    width = -(-(16 + k - 1) // 16) * 16
    toeplitz = 2 * elements * k * width / peak * 1e3
    memory = 2 * elements * dtype.itemsize / bandwidth * 1e3
    return {
        'useful TFLOP/s': 2 * elements * k * k / ms / 1e9,
        'of the Toeplitz bound': toeplitz / ms,
        'of the memory bound': memory / ms,
    }


def show(row):
    """One line of the table: forward / forward + backward."""
    text = 'x'.join(map(str, row['shape'])) + f' K{row["kernel"]}'
    if 'dtype' in row:
        text += f' {row["dtype"][6:]}{"" if row["tf32"] else " no tf32"}'
    parts = []
    for name, ms in row['times'].items():
        parts.append(f'{name} {ms["forward"]:.2f}/{ms["both"]:.2f}')
    print(f'{text}: {", ".join(parts)}', flush=True)


def describe(device):
    """What the numbers were measured on."""
    facts = {
        'device': device,
        'torch': torch.__version__,
        'python': platform.python_version(),
        'date': time.strftime('%Y-%m-%d %H:%M', time.gmtime()),
    }
    if device == 'cuda':
        facts['name'] = torch.cuda.get_device_name()
        facts['cuda'] = torch.version.cuda
    else:
        facts['threads'] = torch.get_num_threads()
        facts['instructions'] = torch.backends.cpu.get_cpu_capability()
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(
        ['git', '-C', str(root), 'rev-parse', 'HEAD'],
        capture_output=True,
        text=True,
    )
    facts['commit'] = commit.stdout.strip() or 'unknown'
    return facts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--device', default='cpu', choices=SECTIONS)
    parser.add_argument('--sections', nargs='+')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/op'))
    parser.add_argument('--seconds', type=float, default=440)
    args = parser.parse_args()
    sections = args.sections or SECTIONS[args.device]
    unknown = set(sections) - set(SECTIONS[args.device])
    if unknown:
        parser.error(
            f'sections on {args.device} are {list(SECTIONS[args.device])}, '
            f'got {sorted(unknown)}'
        )
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: this PyTorch sees no CUDA device')
    args.out.mkdir(parents=True, exist_ok=True)
    few = args.device == 'cuda'
    clock = Clock(args.device, 0.06 if few else 0.4, 30 if few else 25)
    facts = describe(args.device)
    start = time.perf_counter()
    failed = []
    for section in sections:
        share = SECTIONS[args.device][section] if len(sections) > 1 else 1
        args.end = start + share * args.seconds
        try:
            result = globals()[f'run_{section}'](clock, args)
        except Exception as error:
            # the other sections are worth having
            print(f'{section} failed: {type(error).__name__}: {error}')
            failed.append(section)
            continue
        path = args.out / f'op_{section}_{args.device}.json'
        draft = path.with_suffix('.tmp')
        draft.write_text(json.dumps({**facts, section: result}, indent=1))
        draft.rename(path)
        print(f'wrote {path}')
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
