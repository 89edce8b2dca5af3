"""The commands of gpu_day.py by importance, at full and at toy size."""

import os
import signal
import sys
from importlib import util
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
# The steps, and what only a GPU can show about each.
SHOWS = {
    'facts': 'the device, its memory, the driver',
    'tests': 'that kernels start; CUDA graphs, streams, AMP, nccl, FSDP',
    'operator': 'every time; which kernel cuDNN takes; spills; tile shapes',
    'fit': 'the coefficients of `auto`',
    'extension': 'that it builds; every time',
    'models': 'every time, memory, torch.compile and CUDA graphs on CUDA',
    'camvid': 'mIoU by the recipe for a GPU, AMP on CUDA',
}
# Minimum seconds for a command that takes all the remaining time.
REST = 120
# Time limit of a command at toy size, enough for a busy machine.
TOY_SECONDS = 400
BENCHMARKS = ROOT / 'tools/benchmarks'
LARGE = 'configs/upernet_replknet31b_ade20k.py'
SMALL = 'configs/upernet_unireplknet-t_ade20k.py'
TOY = 'configs/upernet_replknet-tiny_shapes.py'


class Command(NamedTuple):
    """A command that runs in its own process.

    Attributes:
        name: The step, '-', and the command within it.
        words: The command line.
        seconds: Time limit in seconds; infinite means all that is left.
        needs: Why it cannot run, or empty.
        environment: Variables besides those of the script.
        folder: Where it runs.
        warning: Signal at the time limit, after which pytest and Python say
            where they were.
        grace: Seconds between that and SIGKILL.
        before: Commands for which it leaves something on the machine, so it
            runs again on another.
    """

    name: str
    words: List[str]
    seconds: float
    needs: Optional[str]
    environment: Dict[str, str]
    folder: Path = ROOT
    warning: int = signal.SIGINT
    grace: float = 5
    before: Tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.name.partition('-')[0]


def commands(args, work: Path) -> Iterator[Command]:
    """All commands of all steps; ``args`` is gpu_day.py's command line.

    Each is made when the one before it has ended, and may depend on it.
    """
    for step in facts, tests, operator, fit, extension, models, camvid:
        yield from step(args, work)


def command(args, name, seconds, *words, needs=(), without=None, **fields):
    """A Python command, in the common environment."""
    missing = [n for n in ('torch', *needs) if util.find_spec(n) is None]
    if missing:
        without = f'needs {", ".join(missing)}'
    path = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = {
        'PYTHONPATH': os.pathsep.join(filter(None, path)),
        'PYTHONUNBUFFERED': '1',
        # whatever the machine's default is, or is not writable
        'TRITON_CACHE_DIR': str(args.out.resolve() / 'work/cache/triton'),
        'TORCHINDUCTOR_CACHE_DIR': str(
            args.out.resolve() / 'work/cache/inductor'
        ),
        **fields.pop('environment', {}),
    }
    if args.toy:
        environment['CUDA_VISIBLE_DEVICES'] = ''
        environment.setdefault('TRITON_INTERPRET', '1')
        seconds = TOY_SECONDS
    else:
        environment['TRITON_INTERPRET'] = '0'
    words = [sys.executable, *map(str, words)]
    return Command(name, words, seconds, without, environment, **fields)


def facts(args, work):
    """Driver, device, packages, backends."""
    yield command(
        args, 'facts-device', 40, BENCHMARKS / 'gpu_facts.py',
        work / 'facts-device/facts.json',
    )  # fmt: skip


def tests(args, work):
    """The tests that need a GPU."""
    needs = 'triton', 'pytest', 'yapf', 'mmengine', 'mmseg', 'mmdet'
    pytest = '-m', 'pytest', '-v', '--tb=short', '-p', 'no:cacheprovider'
    if not args.toy and util.find_spec('xdist'):
        # most of the time kernels compile, or trainings start
        pytest += '-n', str(min(8, os.cpu_count()))
    # tests that only compile do not need a GPU
    some = '-k', 'nan or strided_bias' if args.toy else 'not compile'
    yield command(
        args, 'tests-triton', 110, *pytest, 'tests/ops/test_triton.py',
        'tests/ops/test_triton_limits.py', *some, needs=needs,
    )  # fmt: skip
    yield command(
        args, 'tests-gpu', 70, *pytest, '-m', 'gpu',
        'tests/analysis/test_inference.py', 'tests/runner/test_gpu.py',
        needs=needs,
    )  # fmt: skip


def operator(args, work):
    """The operator against nn.Conv2d, with one process per section."""
    sections = {
        'compile': 65, 'check': 45, 'table1': 85, 'dense': 75, 'tuned': 30,
    }  # fmt: skip
    for section, seconds in sections.items():
        name = f'operator-{section}'
        others = [f'operator-{s}' for s in sections if s != section]
        yield command(
            args, name, seconds, BENCHMARKS / 'benchmark_op.py',
            *(['--toy'] if args.toy else ['--device', 'cuda']),
            '--sections', section,
            '--seconds', TOY_SECONDS if args.toy else seconds - 15,
            '--out', work / name, needs=['triton'],
            before=tuple(others) if section == 'compile' else (),
        )  # fmt: skip


def fit(args, work):
    """Measurements of random shapes, and coefficients from them."""
    measured = []
    script = BENCHMARKS / 'fit_op_dispatch.py'
    small = ('--elements', 2.1e6, '--each', 0.01) if args.toy else ()
    dtypes = ['float32']
    if not args.toy:
        dtypes = ['bfloat16', 'float16', 'float32']
        yield command(
            args, 'fit-compile', 30, script, 'compile', '--seconds', 22,
            needs=['triton'], before=tuple(f'fit-{dtype}' for dtype in dtypes),
        )  # fmt: skip
    for dtype in dtypes:
        name = f'fit-{dtype}'
        measured.append(work / name / f'op_dispatch_{dtype}.json')
        yield command(
            args, name, 25, script, 'measure',
            '--device', 'cpu' if args.toy else 'cuda', '--dtype', dtype,
            '--seconds', 1 if args.toy else 12, *small,
            '--out', measured[-1], needs=['triton'],
            # random shapes are too large for the interpreter
            environment={'TRITON_INTERPRET': '0'},
        )  # fmt: skip
    # what one has measured counts even if another has failed
    measured = [path for path in measured if path.is_file()]
    yield command(
        args, 'fit-coefficients', 15, BENCHMARKS / 'fit_op_dispatch.py', 'fit',
        *measured, '--out', work / 'fit-coefficients/coefficients.txt',
        needs=['scipy'], without=None if measured else 'no measurements',
    )  # fmt: skip


def extension(args, work):
    """The published implicit GEMM, built in its source folder."""
    folder = args.extension
    without = None if folder else 'no --extension DIR'
    if folder and not (folder / 'setup.py').is_file():
        without = f'no setup.py in {folder}'
    yield command(
        args, 'extension-build', 110, 'setup.py', 'build_ext', '--inplace',
        without=without, folder=folder or ROOT, before=('extension-times',),
    )  # fmt: skip
    if not without and not any(folder.rglob('*.so')):
        without = f'no library in {folder}'
    name = 'extension-times'
    paths = [str(ROOT), str(folder), os.environ.get('PYTHONPATH', '')]
    yield command(
        args, name, 70, BENCHMARKS / 'benchmark_op.py',
        *(['--toy'] if args.toy else ['--device', 'cuda']),
        '--sections', 'table1', '--types', 'float16', 'float32',
        '--seconds', 55, '--out', work / name, without=without,
        needs=['triton'],
        environment={'PYTHONPATH': os.pathsep.join(filter(None, paths))},
    )  # fmt: skip


def models(args, work):
    """Whole networks against Swin-B."""
    fast = 'bf16+channels_last'
    swin = '--baselines', 'swin-b'
    inference = '--mode', 'inference', '--form', 'deploy'
    training = '--mode', 'training', '--switches'
    jobs = [
        # RepLKNet-31B and Swin-B
        ('31b-inference', 75, LARGE, *inference, *swin,
         '--switches', 'plain', fast, f'{fast}+cuda_graph'),
        ('31b-training', 60, LARGE, *training, 'plain', fast, *swin),
        ('t-inference', 30, SMALL, *inference,
         '--switches', 'plain', fast, f'{fast}+cuda_graph'),
        ('t-training', 30, SMALL, *training, 'plain', fast),
        ('31b-compiled', 105, LARGE, '--mode', 'inference', 'training',
         '--form', 'compile', '--switches', fast, f'{fast}+compile'),
    ]  # fmt: skip
    size = '--shape', 512, 512, '--batch-sizes', 4
    if args.toy:
        jobs = [
            ('toy', 60, TOY, *inference, '--switches', 'plain', fast),
            ('toy-training', 60, TOY, *training, 'plain', fast),
        ]
        size = '--shape', 64, 64, '--batch-sizes', 2
    for job, seconds, *words in jobs:
        name = f'models-{job}'
        yield command(
            args, name, seconds, BENCHMARKS / 'benchmark_model.py', *words,
            *size, '--one-process', '--repeats', 3,
            '--out', work / name / 'model.json',
            needs=['mmengine', 'mmcv', 'mmseg', 'mmdet'],
        )  # fmt: skip


def camvid(args, work):
    """A training run that lasts until the time is over, and its test."""
    needs = 'mmengine', 'mmcv', 'mmseg', 'mmdet'
    script = ROOT / 'projects/from_scratch/from_scratch.py'
    name = 'camvid-training'
    words = '--amp', 'bf16', '--out-dir', work / name
    if not args.toy:
        config = 'projects/from_scratch/configs/upernet_replknet-small_camvid'
        here = args.data_root.is_dir()
        yield command(
            args, name, float('inf'), script, f'{config}.py', *words,
            '--data-root', args.data_root, needs=needs,
            # it writes a checkpoint and ends, and so does its parent
            warning=signal.SIGTERM, grace=45,
            without=None if here else f'no {args.data_root}',
        )  # fmt: skip
        return
    data = work / 'camvid-data/shapes'
    make = ROOT / 'tools/dataset_converters/make_shapes.py'
    yield command(
        args, 'camvid-data', 60, make, data,
        '--train', 4, '--val', 2, '--size', 64,
    )  # fmt: skip
    options = [
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
        'param_scheduler.0.end=1', 'param_scheduler.1.begin=1',
        'param_scheduler.1.end=2', 'default_hooks.checkpoint.interval=2',
        'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0', 'test_dataloader.num_workers=0',
    ]  # fmt: skip
    yield command(
        args, name, 120, script, TOY, *words, '--data-root', data,
        '--cfg-options', *options, needs=needs,
    )  # fmt: skip
