"""Curves of trainings, and tools/plot.py."""

import json
import math
from pathlib import Path

import cv2
import pytest

from mmrep.errors import UsageError
from mmrep.watching import best_score, draw_curves, read_run
from mmrep.watching.curves import _panels

TOOL = Path(__file__).parents[2] / 'tools/plot.py'


def write(folder, *attempts):
    """Write the scalars of attempts as MMEngine does."""
    for i, records in enumerate(attempts):
        path = folder / f'2026010{i}_000000/vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(r) + '\n' for r in records))
    return folder


def step(i, loss, **more):
    return dict(
        lr=1e-3, loss=loss, **{'decode.loss_ce': loss / 2}, iter=i, step=i,
        time=0.1, **more,
    )  # fmt: skip


@pytest.fixture
def segmentor(tmp_path):
    """Stopped behind iteration 30, gone on from 20."""
    first = [step(10, 3), step(20, 2), dict(mIoU=10.0, aAcc=50.0, step=20)]
    lost = [step(30, 9), dict(mIoU=99.0, aAcc=99.0, step=30)]
    again = [step(30, 1.5), dict(mIoU=30.0, aAcc=60.0, step=30)]
    end = [step(40, 1), dict(mIoU=20.0, aAcc=70.0, step=40)]
    return write(tmp_path / 'a', first + lost, again + end)


@pytest.fixture
def detector(tmp_path):
    """Counts epochs of 5 iterations."""
    scores = {'coco/bbox_mAP_s': -1.0, 'coco/bbox_mAP': 0.2}
    return write(
        tmp_path / 'b',
        [
            step(5, 3, epoch=1),
            dict(scores, step=1),
            step(10, 2, epoch=2),
            dict(scores, step=2),
        ],
    )


def test_attempts_are_joined(segmentor):
    run = read_run(segmentor)
    assert [r['iter'] for r in run.train] == [10, 20, 30, 40]
    assert [r['loss'] for r in run.train] == [3, 2, 1.5, 1]
    assert [r['mIoU'] for r in run.scores] == [10, 30, 20]
    assert (run.name, run.unit) == ('a', 'iteration')
    assert best_score(run) == ('mIoU', 30, 30)
    assert best_score(run, 'aAcc') == ('aAcc', 70, 40)
    with pytest.raises(UsageError, match="one of mIoU, aAcc, got 'no'"):
        best_score(run, 'no')


def test_epochs(detector):
    run = read_run(detector)
    assert [r['iter'] for r in run.scores] == [5, 10]
    assert best_score(run) == ('coco/bbox_mAP', 0.2, 1)


def test_least_error_is_best(tmp_path):
    records = [step(1, 1)]
    records += [dict(rmse=r, step=s) for s, r in ((1, 3), (2, 2), (3, 4))]
    run = read_run(write(tmp_path / 'c', records))
    assert best_score(run) == ('rmse', 2, 2)


def test_draw(segmentor, detector, tmp_path):
    sizes = []
    for runs in ([segmentor], [segmentor, detector], [segmentor, segmentor]):
        path = tmp_path / f'{len(sizes)}.png'
        draw_curves([read_run(run) for run in runs], path)
        sizes.append(cv2.imread(str(path)).shape)
    # three panels, two and three scores, two and two
    with pytest.raises(UsageError, match='at most 12 runs .* got 13'):
        draw_curves([read_run(segmentor)] * 13, path)
    assert [height // 400 for height, *_ in sizes] == [2, 3, 2]


@pytest.mark.parametrize(
    'text',
    [
        '{"lr": 1}', 'text', '[1]', '', '[' * 100000,
        '{"lr": 1, "iter": Infinity}', '{"lr": 1, "iter": NaN}',
    ],
)  # fmt: skip
def test_other_files(tmp_path, text):
    path = tmp_path / 'scalars.json'
    path.write_text(text)
    with pytest.raises(UsageError, match='is not the scalars|no iteration'):
        read_run(path)


def test_tool(run_tool, segmentor, detector, tmp_path):
    out = tmp_path / 'curves.png'
    done = run_tool(TOOL, segmentor, detector, '--out', out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'a: 40 iterations, best mIoU 30 at iteration 30, last 20',
        'b: 10 iterations, best coco/bbox_mAP 0.2 at epoch 1, last 0.2',
        f'the curves are in {out}',
    ]
    assert cv2.imread(str(out)) is not None
    done = run_tool(TOOL, segmentor, detector, '--score', 'mIoU')
    assert done.returncode == 1
    assert done.stderr == (
        'error: --score must be one of coco/bbox_mAP, coco/bbox_mAP_s, got '
        "'mIoU', which b does not have.\n"
    )
    done = run_tool(TOOL, tmp_path)
    assert done.stderr.startswith('error: a run must be the work dir')


def test_scores_of_only_some_validations(run_tool, tmp_path):
    records = [step(1, 1), dict(mIoU=3.0, step=1), dict(mAcc=5.0, step=1)]
    folder = write(tmp_path / 'c', records)
    done = run_tool(TOOL, folder, '--out', tmp_path / 'curves.png')
    line = 'c: 1 iteration, best mIoU 3 at iteration 1, last 3'
    assert done.stdout.splitlines()[0] == line, done.stderr


def test_legend_has_only_runs_with_the_score(segmentor, detector, tmp_path):
    from matplotlib.axes import Axes

    labels = []
    runs = [read_run(segmentor), read_run(detector)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Axes, 'plot', lambda _, *points, label, **__: labels.append(label)
        )
        draw_curves(runs, tmp_path / 'curves.png')
    # loss, learning rate, mIoU, mAP, aAcc
    assert labels == ['a', 'b', 'a', 'b', 'a', 'b', 'a']


def test_incomplete_last_line(segmentor):
    """A killed run, or a full disk, leaves one."""
    path = max(segmentor.glob('*/vis_data/scalars.json'))
    with path.open('a') as file:
        file.write('{"lr": 0.00')
    assert [r['iter'] for r in read_run(segmentor).train] == [10, 20, 30, 40]


@pytest.mark.parametrize('order', [[1, 2, 3], [3, 1, 2], [2, 3, 1]])
def test_nan_is_not_best(tmp_path, order):
    scores = {1: math.nan, 2: 50.0, 3: 40.0}
    records = [dict(mIoU=scores[i], step=i) for i in order]
    run = read_run(write(tmp_path / 'c', [step(1, math.nan), *records]))
    assert best_score(run) == ('mIoU', 50, 2)
    draw_curves([run], tmp_path / 'curves.png')


def test_only_nan(tmp_path):
    run = read_run(
        write(tmp_path / 'c', [step(1, 1), dict(mIoU=math.nan, step=1)])
    )
    name, value, at = best_score(run)
    assert (name, at) == ('mIoU', 1) and math.isnan(value)


def test_scores_of_many_classes(tmp_path):
    scores = {f'coco/class {i}_precision': 0.5 for i in range(200)}
    run = read_run(write(tmp_path / 'c', [step(1, 1), dict(scores, step=1)]))
    title, lines = _panels([run], None)[-1]
    assert (title, len(lines)) == ('validation scores (12 of 200)', 12)
    (_, (line,)) = _panels([run], 'coco/class 99_precision')[-1]
    assert line[0] == 'coco/class 99_precision'
