"""Time and memory of models: in training, and in inference by form.

Each case has its own process, so its peak memory is its own and a failure does
not affect the others. The processes take turns, so all of them see the same
state of the machine.
"""

import copy
import gc
import multiprocessing
import statistics
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrep.analysis.inference import (
    FILE_FORMS,
    build_form,
    build_predictor,
    import_custom,
)
from mmrep.analysis.training import build_training_step
from mmrep.compat.noise import silence_warnings
from mmrep.deploy.quantize.score import score
from mmrep.errors import UsageError, one_line
from mmrep.models.precision import HALF

SWITCHES = (
    'bf16', 'fp16', 'channels_last', 'with_cp', 'compile', 'cuda_graph',
)  # fmt: skip

# Clocks of --clock, in seconds.
_CLOCKS = {'cpu': time.process_time, 'wall': time.perf_counter}

# Backbones as large as RepLKNet-31B, with their published settings.
BASELINES: Dict[str, Dict[str, Any]] = {
    'swin-b': dict(
        package='mmseg',
        channels=[128, 256, 512, 1024],
        backbone=dict(
            type='mmseg.SwinTransformer',
            embed_dims=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            window_size=7,
            drop_path_rate=0.3,
        ),
    ),
    'convnext-b': dict(
        package='mmpretrain',
        channels=[128, 256, 512, 1024],
        backbone=dict(
            type='mmpretrain.ConvNeXt',
            arch='base',
            out_indices=[0, 1, 2, 3],
            drop_path_rate=0.4,
            layer_scale_init_value=1.0,
            gap_before_final_norm=False,
        ),
    ),
}


@dataclass(frozen=True)
class Case:
    """A case to measure.

    Args:
        model (str): Name of the model in tables.
        mode (str): 'training', for a training step, or 'inference'.
        form (str): For inference, one of ``mmrep.analysis.inference.FORMS``.
        switches (tuple[str, ...]): Some of :data:`SWITCHES`.
        batch_size (int): Images per batch.
        shape (tuple[int, int]): Their height and width.
        device (str): 'cpu' or 'cuda'.
        checkpoint (str, optional): Weights, for inference from pictures to
            predictions, whose score is measured too. Defaults to None, random
            weights.
    """

    model: str
    mode: str
    form: str
    switches: Tuple[str, ...]
    batch_size: int
    shape: Tuple[int, int]
    device: str
    checkpoint: Optional[str] = None

    def __str__(self) -> str:
        what = 'training' if self.mode == 'training' else f'{self.form} form'
        switches = '+'.join(self.switches) or 'plain'
        size = '{}x{}x{}'.format(self.batch_size, *self.shape)
        return f'{self.model}, {what}, {switches}, {size}'

    def unfit(self) -> Optional[str]:
        """Why this case does not exist, or None."""
        training = self.mode == 'training'
        if 'cuda_graph' in self.switches and (
            training or self.device != 'cuda'
        ):
            return 'cuda_graph is for inference on a GPU'
        if not training and {'with_cp', 'compile'} & set(self.switches):
            return (
                'with_cp and compile are for training; '
                'in inference compile is a form'
            )
        if self.form in FILE_FORMS and (self.switches or self.device != 'cpu'):
            return (
                f'the form {self.form} is measured only on a CPU, without '
                'switches'
            )
        if self.checkpoint is not None and (
            training or self.device != 'cpu' or set(self.switches) - set(HALF)
        ):
            return (
                '--checkpoints measures only inference on a CPU, plain, in '
                'bf16 or in fp16'
            )
        return None


def parse_switches(text: str) -> Tuple[str, ...]:
    """Parse switches such as 'bf16+channels_last'; 'plain' means none.

    Raises:
        UsageError: If one is unknown, or two exclude each other.
    """
    names = () if text == 'plain' else tuple(text.split('+'))
    if set(names) - set(SWITCHES):
        raise UsageError(
            f'switches must be plain or of {", ".join(SWITCHES)} joined by '
            f'"+", got {text!r}.'
        )
    if {'bf16', 'fp16'} <= set(names):
        raise UsageError(f'bf16 and fp16 exclude each other, got {text!r}.')
    return names


def missing_package(baseline: str) -> Optional[str]:
    """The missing package of a baseline, or None."""
    package = BASELINES[baseline]['package']
    return package if find_spec(package) is None else None


def with_baseline(cfg: Config, name: str) -> Config:
    """A copy of a config with another backbone before the same head.

    Args:
        cfg (Config): Config of a segmentor, or of a detector with a neck.
        name (str): One of :data:`BASELINES`.

    Raises:
        UsageError: If the config has another kind of head.
    """
    cfg = copy.deepcopy(cfg)
    model, baseline = cfg.model, BASELINES[name]
    channels: List[int] = baseline['channels']
    head = model.get('decode_head')
    if 'in_channels' in (model.get('neck') or {}):
        model.neck.in_channels = channels
    elif isinstance(head, dict) and isinstance(head.in_channels, list):
        head.in_channels = channels
        auxiliary = model.get('auxiliary_head')
        if auxiliary:
            auxiliary.in_channels = channels[auxiliary.in_index]
    else:
        raise UsageError(
            f'{name} needs a config whose neck or decode_head takes the maps '
            'of all stages.'
        )
    model.pop('backbone')
    model.backbone = copy.deepcopy(baseline['backbone'])
    return cfg


def measure(
    jobs: Sequence[Tuple[Config, Case]],
    repeats: int = 5,
    threads: int = 1,
    clock: str = 'wall',
    report: Callable[[str], None] = lambda text: None,
) -> List[Dict[str, Any]]:
    """Time cases in turn, each in its own process.

    All models are in memory at the same time.

    Args:
        jobs (Sequence[tuple[Config, Case]]): Configs and cases.
        repeats (int): Turns of each case. Defaults to 5.
        threads (int): Threads of a process on the CPU. Defaults to 1.
        clock (str): 'wall', or 'cpu' for CPU time, which other work on the
            machine disturbs less. Defaults to 'wall'.
        report (Callable): Called with the progress.

    Returns:
        list[dict]: For each job, the case's fields, ``clock``, and ``error``
            or ``times`` in milliseconds per batch, their median ``ms``,
            ``images_per_second`` computed from it, and ``peak_mb``: weights,
            gradients, optimizer and activations; on the CPU, what the
            allocator has not returned. For inference also ``file_mb``, the
            size of its weights or its file, and with a checkpoint ``score``,
            in points on the validation set.
    """
    workers: List[_Worker] = []
    try:
        for i, (cfg, case) in enumerate(jobs):
            report(f'building {i + 1}/{len(jobs)}: {case}')
            workers.append(_Worker(cfg, case, threads, clock))
            workers[-1].wait_until_built()
        for turn in range(repeats):
            report(f'turn {turn + 1}/{repeats}')
            for worker in workers:
                worker.take_turn()
        return [worker.result() for worker in workers]
    finally:
        for worker in workers:
            worker.stop()


def measure_here(
    jobs: Sequence[Tuple[Config, Case]],
    repeats: int = 5,
    threads: int = 1,
    clock: str = 'wall',
    report: Callable[[str], None] = lambda text: None,
) -> Iterator[Dict[str, Any]]:
    """Time cases one after another in this process.

    This saves starting a process for each, and the memory of all but one,
    which on a GPU are most of the time and the memory.

    Args:
        jobs (Sequence[tuple[Config, Case]]): As in :func:`measure`, like the
            other arguments.
        repeats (int): Defaults to 5.
        threads (int): Defaults to 1.
        clock (str): Defaults to 'wall'.
        report (Callable): Called with the progress.

    Yields:
        dict: The result of :func:`measure` for a job, as soon as it is
            measured. On the CPU ``peak_mb`` is None.
    """
    for i, (cfg, case) in enumerate(jobs):
        report(f'{i + 1}/{len(jobs)}: {case}')
        step = error = None
        more: Dict[str, Any] = {}
        times: List[float] = []
        try:
            step, memory, find_more = _prepare(cfg, case, threads)
            times = [_time(step, _CLOCKS[clock]) for _ in range(repeats)]
            # on a CPU, what earlier cases left in the allocator is unknown
            more['peak_mb'] = None if case.device == 'cpu' else memory.peak()
            more.update(find_more())
        except Exception as reason:  # the other cases continue
            error = _reason(reason)
        # the next case finds the memory as this one did
        step = find_more = None
        torch.compiler.reset()
        gc.collect()
        if case.device != 'cpu':
            with suppress(RuntimeError):  # of a device that is lost
                torch.cuda.empty_cache()
        yield _row(case, clock, error, times, more)


class _Worker:
    """The process of a case, as its parent sees it."""

    def __init__(
        self, cfg: Config, case: Case, threads: int, clock: str
    ) -> None:
        context = multiprocessing.get_context('spawn')
        self.case, self.clock = case, clock
        self.times: List[float] = []
        self.error: Optional[str] = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, cfg, case, threads, clock)
        )
        self.process.start()
        theirs.close()

    def wait_until_built(self) -> None:
        self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            kind, value = 'error', f'the process ended with status {code}'
            if code == -9:
                value += ', as it does when memory runs out'
        if kind == 'error':
            self.error = value
        return value

    def _ask(self, what: str) -> Any:
        self.pipe.send(what)
        return self._receive()

    def take_turn(self) -> None:
        if self.error is None:
            ms = self._ask('turn')
            if self.error is None:
                self.times.append(ms)

    def result(self) -> Dict[str, Any]:
        more = self._ask('more') if self.error is None else {}
        return _row(self.case, self.clock, self.error, self.times, more)

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _serve(
    pipe: Any, cfg: Config, case: Case, threads: int, clock: str
) -> None:
    """Build a case, then answer requests; runs in the case's process."""
    silence_warnings()
    now = _CLOCKS[clock]
    try:
        step, memory, find_more = _prepare(cfg, case, threads)
        pipe.send(('ready', None))
        while True:
            if pipe.recv() == 'turn':
                pipe.send(('ms', _time(step, now)))
            else:
                peak = memory.peak()  # without the memory for the score
                pipe.send(('more', {'peak_mb': peak, **find_more()}))
    except (EOFError, KeyboardInterrupt):
        return  # the measurement is over
    except Exception as error:  # the other cases continue
        pipe.send(('error', _reason(error)))


def _prepare(
    cfg: Config, case: Case, threads: int
) -> Tuple[Callable[[], Any], '_Memory', Callable[[], Dict[str, Any]]]:
    """A step after a first run, the memory from here on, and other facts."""
    torch.set_num_threads(threads)
    import_custom(cfg)
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as r:
        r.import_from_location()  # so imports do not count as memory
    memory = _Memory(case.device)
    step, find_more = _build(cfg, case)
    _warm_up(step)
    memory.forget_peak()
    return step, memory, find_more


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, UsageError):
        return str(error)
    text = one_line(error, kind=True)[:300]
    # torch.compile adds advice
    return text.partition(' Set TORCHDYNAMO')[0]


def _row(
    case: Case,
    clock: str,
    error: Optional[str],
    times: List[float],
    more: Dict[str, Any],
) -> Dict[str, Any]:
    """A result of :func:`measure`."""
    about = {**asdict(case), 'clock': clock}
    if error is not None:
        return {**about, 'error': error}
    ms = statistics.median(times)
    return {
        **about,
        'times': times,
        'ms': ms,
        'images_per_second': case.batch_size / ms * 1e3,
        **more,
    }


def _build(
    cfg: Config, case: Case
) -> Tuple[Callable[[], Any], Callable[[], Dict[str, Any]]]:
    switches = case.switches
    half = next((name for name in HALF if name in switches), None)
    if case.checkpoint is not None:
        made = build_predictor(
            cfg, case.checkpoint, case.form, case.shape, case.batch_size, half
        )
        trained = made.model

        def find_more() -> Dict[str, Any]:
            points = score(cfg, trained, '')
            return dict(file_mb=made.megabytes, score=points)

        return made.run, find_more
    more: Dict[str, Any] = {}
    if case.mode == 'training':
        step = build_training_step(
            cfg, case.shape, case.batch_size, case.device, switches
        )
    else:
        step, more['file_mb'], _ = build_form(
            cfg,
            case.form,
            case.shape,
            case.batch_size,
            case.device,
            half,
            'channels_last' in switches,
            'cuda_graph' in switches,
        )
    if case.device == 'cpu':
        return step, more.copy

    def synchronous() -> None:
        step()
        torch.cuda.synchronize()

    return synchronous, more.copy


def _warm_up(step: Callable[[], Any]) -> None:
    """Warm up: the first step compiles, and fast steps need a few runs."""
    end = time.perf_counter() + 1
    for _ in range(10):
        step()
        if time.perf_counter() > end:
            break


def _time(
    step: Callable[[], Any],
    now: Callable[[], float],
    seconds: float = 0.2,
) -> float:
    """Milliseconds of a step, as the mean over some time."""
    count, begin, passed = 0, now(), 0.0
    while passed < seconds:
        step()
        count += 1
        passed = now() - begin
    return passed / count * 1e3


class _Memory:
    """Memory of this process above its initial value."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == 'cpu':
            self.before = self._status('VmRSS')
        else:
            self.before = torch.cuda.memory_allocated() / 2**20

    @staticmethod
    def _status(key: str) -> float:
        """Megabytes from Linux's status file."""
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith(f'{key}:'):
                return int(line.split()[1]) / 1024
        raise KeyError(key)

    def forget_peak(self) -> None:
        """Count the peak from here on, after building."""
        if self.device == 'cpu':
            Path('/proc/self/clear_refs').write_text('5')
        else:
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        if self.device == 'cpu':
            return self._status('VmHWM') - self.before
        return torch.cuda.max_memory_allocated() / 2**20 - self.before


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """Results as Markdown.

    Args:
        rows (Sequence[dict]): What :func:`measure` returned. Speed-ups refer
            to the first case of the same model, mode, batch and size.
    """
    keys = ('model', 'mode', 'batch_size', 'shape', 'device')
    first: Dict[str, float] = {}
    unit = 'CPU ms' if rows and rows[0]['clock'] == 'cpu' else 'ms'
    head = ['model', 'what', 'switches', 'batch', unit, 'images/s']
    head += ['speed-up', 'peak MB']
    for key, title in (('file_mb', 'file MB'), ('score', 'score')):
        if any(key in row for row in rows):
            head.append(title)
    lines = [f'| {" | ".join(head)} |', '| --- ' * len(head) + '|']
    for row in rows:
        training = row['mode'] == 'training'
        cells = [
            row['model'],
            'training step' if training else f'{row["form"]} form',
            '+'.join(row['switches']) or 'plain',
            '{}×{}×{}'.format(row['batch_size'], *row['shape']),
        ]
        if 'error' in row:
            cells += [row['error'].replace('|', '/')]
        else:
            reference = first.setdefault(
                str([row[key] for key in keys]), row['ms']
            )
            cells += [
                f'{row["ms"]:.4g}',
                f'{row["images_per_second"]:.3g}',
                f'{reference / row["ms"]:.2f}',
                '' if row['peak_mb'] is None else f'{row["peak_mb"]:.0f}',
            ]
            if 'file_mb' in row:
                cells.append(f'{row["file_mb"]:.1f}')
            if 'score' in row:
                points = (f'{k} {v:.2f}' for k, v in row['score'].items())
                cells.append(', '.join(points))
        cells += [''] * (len(head) - len(cells))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)
