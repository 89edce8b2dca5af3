"""Measure functions that are compared with each other."""

import statistics
import time
from typing import Any, Callable, Dict, Hashable, List, Mapping, TypeVar

import torch

# Below this many milliseconds, a run on a CPU follows one that is not timed,
# and a run on a GPU is repeated until it takes as long.
SHORT = {'cpu': 20.0, 'cuda': 1.0}
# Milliseconds above which a first run is not repeated.
LONG = 1000.0

Name = TypeVar('Name', bound=Hashable)


def time_in_turn(
    runs: Mapping[Name, Callable[[], Any]],
    device: str,
    seconds: float,
    least: int = 1,
    most: int = 9,
    limit: float = float('inf'),
    hopeless: float = float('inf'),
) -> Dict[Name, float]:
    """Median milliseconds of functions.

    They run in turn, so all see the same state of the machine. A slow one runs
    in fewer rounds.

    Args:
        runs: Functions by name.
        device: Type of the device they run on; on a GPU events give the
            time.
        seconds: Time for each function.
        least: Smallest number of rounds. Defaults to 1.
        most: Largest number of rounds. Defaults to 9.
        limit: A function that takes more milliseconds runs only once. Defaults
            to no limit.
        hopeless: A function that takes this many times the fastest runs only
            once. Defaults to no limit.

    Returns:
        dict: Milliseconds by name.
    """
    if device == 'cuda':
        # kernels compile, cuDNN searches
        for run in runs.values():
            run()
    first = {name: _once(run, device) for name, run in runs.items()}
    for name, ms in first.items():
        if ms < min(LONG, limit):
            # the first of its kind on a CPU is slow: oneDNN compiles too
            first[name] = min(ms, _once(runs[name], device))
    best = min(first.values(), default=0.0)
    times: Dict[Name, List[float]] = {name: [] for name in runs}
    rounds, repeats = {}, {}
    for name, ms in first.items():
        if ms > limit or ms > hopeless * best:
            times[name].append(ms)
            continue
        rounds[name] = max(least, min(most, int(seconds / ms * 1e3)))
        repeats[name] = 1
        if device == 'cuda':
            repeats[name] = max(1, min(20, int(SHORT[device] / ms)))
    for i in range(max(rounds.values(), default=0)):
        for name, count in rounds.items():
            if i >= count:
                continue
            if device == 'cpu' and first[name] < SHORT[device]:
                # so that no function gains from following a similar one
                runs[name]()
            times[name].append(_once(runs[name], device, repeats[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def _once(run: Callable[[], Any], device: str, repeat: int = 1) -> float:
    """Milliseconds of a run, as the mean of several without a pause."""
    if device == 'cuda':
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeat):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / repeat
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3
