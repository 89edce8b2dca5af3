"""Curves of training runs, from the ``scalars.json`` that they write."""

import json
import math
import re
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from mmrep.errors import UsageError
from mmrep.files import replaced

# What a record has besides losses and scores.
_OTHERS = {'time', 'data_time', 'memory', 'epoch', 'iter', 'step'}
# Scores for which lower is better.
_LESS = re.compile(r'loss|error|(^|[/_])(mae|mse|rmse|nd|nrmse)($|_)', re.I)
_LOSS = re.compile(r'(^|[._/])loss')
# The score that is shown first, if a run has it.
_FIRST = ('mIoU', 'coco/segm_mAP', 'coco/bbox_mAP', 'accuracy/top1')
# With several runs each score has its own panel.
_MAX_PANELS = 6
# A panel has room for this many names.
_MAX_LINES = 12


class Run(NamedTuple):
    """Logged values of a training run.

    Attributes:
        name: Name of the folder.
        train: A record of each logged iteration, with ``iter``, ``lr``,
            ``loss`` and others.
        scores: A record of each validation, with ``iter``, ``step`` (the
            iteration, or the epoch) and the scores.
        unit: Unit of ``step``, 'iteration' or 'epoch'.
    """

    name: str
    train: List[Dict[str, float]]
    scores: List[Dict[str, float]]
    unit: str


def read_run(path: str) -> Run:
    """Read what a training run logged, over all its attempts.

    What earlier attempts did after the point where a later one begins is
    skipped, because it was done again.

    Args:
        path (str): A work dir, a folder in it, or a ``scalars.json``.

    Returns:
        Run: Its records.

    Raises:
        UsageError: If there are none, or a file is something else.
    """
    given = Path(path)
    files = [given] if given.is_file() else []
    for pattern in ('*/vis_data/scalars.json', 'vis_data/scalars.json'):
        files = files or sorted(given.glob(pattern))
    if not files:
        raise UsageError(
            'a run must be the work dir of a training run, with '
            f'TIME/vis_data/scalars.json in it, got {path!r}.'
        )
    train: List[Dict[str, float]] = []
    scores: List[Dict[str, float]] = []
    for file in files:
        records = _read(file)
        first = next((r['iter'] for r in records if 'lr' in r), None)
        if first is not None:
            train = [r for r in train if r['iter'] < first]
            scores = [r for r in scores if r['iter'] < first]
        for record in records:
            if 'lr' in record:
                train.append(record)
                continue
            # a step is an iteration, or the smaller number of the epoch
            last = train[-1]['iter'] if train else 0
            scores.append({**record, 'iter': max(last, record['step'])})
    if not train:
        raise UsageError(f'{path} has no iterations in its log yet.')
    by_epoch = any('epoch' in r for r in train)
    name = given.resolve().name if given.is_dir() else given.parts[-1]
    return Run(name, train, scores, 'epoch' if by_epoch else 'iteration')


def _read(file: Path) -> List[Dict[str, float]]:
    try:
        text = file.read_text('utf-8')
        # a full disk or a killed run leaves the last line incomplete
        text = text[: text.rfind('\n') + 1] or text
        records = [
            {k: v for k, v in json.loads(line).items() if _is_number(v)}
            for line in text.splitlines()
        ]
        steps = [r['iter' if 'lr' in r else 'step'] for r in records]
        if all(0 <= step < math.inf for step in steps):
            return records
    except (
        AttributeError, KeyError, OSError, RecursionError, ValueError
    ):  # fmt: skip
        pass
    raise UsageError(f'{file} is not the scalars.json of a training run.')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def score_names(records: Iterable[Dict[str, float]]) -> List[str]:
    """Names of the scores of the validations, the main one first."""
    names = list(dict.fromkeys(key for record in records for key in record))
    names = [name for name in names if name not in _OTHERS]
    first = [name for name in _FIRST if name in names]
    return first + [name for name in names if name not in first]


def better(name: str) -> Callable[..., Any]:
    """``min`` for a score that is an error or a loss, else ``max``."""
    return min if _LESS.search(name) else max


def best_score(
    run: Run, score: Optional[str] = None
) -> Optional[Tuple[str, float, int]]:
    """The best value of a score.

    Args:
        run (Run): What :func:`read_run` returned.
        score (str, optional): Its name. Defaults to None, which is mIoU or
            mAP, or the first that the run has.

    Returns:
        tuple, optional: The name, the value, and the iteration or epoch of
        the validation; None if there was no validation.

    Raises:
        UsageError: If the run has no such score.
    """
    names = score_names(run.scores)
    if not names:
        return None
    name = score or names[0]
    if name not in names:
        raise UsageError(
            f'--score must be one of {", ".join(names)}, got {score!r}, which '
            f'{run.name} does not have.'
        )
    validations = [r for r in run.scores if name in r]
    # a comparison with NaN is always false
    numbers = [r for r in validations if not math.isnan(r[name])]
    validations = numbers or validations
    best = better(name)(validations, key=lambda r: r[name])
    return name, best[name], int(best['step'])


def draw_curves(
    runs: Sequence[Run], path: Path, score: Optional[str] = None
) -> None:
    """Draw losses, learning rate and scores.

    For one run, all parts of the loss and all scores (12 at most) are drawn;
    to compare several runs, the total loss and the main scores.

    Args:
        runs (Sequence[Run]): What :func:`read_run` returned.
        path (Path): PNG file to write.
        score (str, optional): The only score to draw. Defaults to None.

    Raises:
        UsageError: If there are more than 12 runs.
    """
    from matplotlib.figure import Figure

    if len(runs) > _MAX_LINES:
        raise UsageError(
            f'at most {_MAX_LINES} runs fit in a picture, got {len(runs)}.'
        )
    panels = _panels(runs, score)
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.6 * rows), dpi=120, layout='constrained')
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis, (title, lines) in zip(axes, panels, strict=False):
        for i, (label, points) in enumerate(lines):
            if not points[0]:  # a run without this score
                continue
            axis.plot(
                *points,
                label=label,
                # ten colours, each solid, dashed and dotted
                color=f'C{i % 10}',
                linestyle=('-', '--', ':')[i // 10 % 3],
                marker='.' if len(points[0]) < 30 else None,
            )
        axis.set_title(title)
        axis.set_xlabel('iteration')
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8, loc='best', framealpha=0.8)
    for axis in axes[len(panels) :]:
        axis.remove()
    with replaced(path) as partial:
        figure.savefig(partial, format='png')


def _panels(
    runs: Sequence[Run], score: Optional[str]
) -> List[Tuple[str, List[Tuple[str, Any]]]]:
    """Title and lines of each panel; a line is a label and its points."""
    names = (
        [score] if score else score_names(r for x in runs for r in x.scores)
    )
    if len(runs) == 1:
        (run,) = runs
        keys = dict.fromkeys(k for r in run.train for k in r)
        losses = [key for key in keys if _LOSS.search(key)]
        title = 'validation scores'
        if len(names) > _MAX_LINES:
            title += f' ({_MAX_LINES} of {len(names)})'
            names = names[:_MAX_LINES]
        panels = [
            ('loss', [(k, _points(run.train, k)) for k in losses]),
            ('learning rate', [('lr', _points(run.train, 'lr'))]),
        ]
        lines = [(name, _points(run.scores, name)) for name in names]
        return panels + ([(title, lines)] if lines else [])
    labels = [run.name for run in runs]
    if len({*labels}) < len(labels):
        labels = [f'{i + 1}: {name}' for i, name in enumerate(labels)]
    panels = []
    for title, key in (('loss', 'loss'), ('learning rate', 'lr')):
        lines = [_points(run.train, key) for run in runs]
        panels.append((title, list(zip(labels, lines, strict=True))))
    for name in names[: _MAX_PANELS - 2]:
        lines = [_points(run.scores, name) for run in runs]
        panels.append((name, list(zip(labels, lines, strict=True))))
    return panels


def _points(
    records: Sequence[Dict[str, float]], key: str
) -> Tuple[List[float], List[float]]:
    """Iterations and values, without COCO's -1 for sizes that do not occur."""
    found = [(r['iter'], r[key]) for r in records if r.get(key, -1) != -1]
    return [x for x, _ in found], [y for _, y in found]
