"""Reports of tests, by tools/test.py --report."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from browser import open_browser
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmrep.errors import UsageError
from mmrep.watching import ReportHook, report
from mmrep.watching.tally import BoxTally, Example, LabelTally, match

TOOL = Path(__file__).parents[2] / 'tools/test.py'


def check_alone(text):
    """A page that loads nothing."""
    sources = re.findall(r'(?:src|href)="(.{0,20})', text)
    assert sources
    assert all(s.startswith('data:image/jpeg;base64,'[:20]) for s in sources)
    assert 'http' not in re.sub(r'base64,[^"]*', '', text)


def cells(text, title):
    """The rows of the table behind a title."""
    table = text.partition(f'<h2>{title}</h2>')[2].partition('</table>')[0]
    rows = re.findall(r'<tr>(.*?)</tr>', table, re.S)[1:]
    return [
        [re.sub('<[^>]*>', '', c) for c in re.findall(r'<td.*?</td>', r)]
        for r in rows
    ]


def label_sample(labels, truth=None, path='a.png'):
    sample = SegDataSample(metainfo=dict(img_path=path))
    sample.pred_sem_seg = PixelData(data=torch.tensor([labels]))
    if truth is not None:
        sample.gt_sem_seg = PixelData(data=torch.tensor([truth]))
    return sample


def test_labels_are_counted():
    tally = LabelTally(['a', 'b', 'c'], np.zeros((3, 3), np.uint8))
    example = tally.add(label_sample([[0, 1], [1, 2]], [[0, 0], [1, 255]]))
    assert tally.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert example.score == pytest.approx(2 / 3)
    assert '33.3%' in example.text
    assert tally.rows({}) == [
        ('50.0', '50.0', '100.0', '66.7'),
        ('50.0', '100.0', '50.0', '33.3'),
        ('–', '–', '–', '0.0'),
    ]
    with pytest.raises(UsageError, match='label maps'):
        tally.add(label_sample([[0]]))


def box_sample(boxes, labels, scores, path):
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores),
    )
    return SimpleNamespace(pred_instances=found, img_path=path)


def true_box(x, label, crowd=0):
    return dict(bbox=[x, 0, x + 10, 10], bbox_label=label, ignore_flag=crowd)


def box(x):
    return [x, 0, x + 10, 10]


def test_boxes_are_counted():
    true = [true_box(0, 0), true_box(20, 1), true_box(40, 0)]
    true += [true_box(60, 1, crowd=1)]
    tally = BoxTally(['a', 'b'], dict(p=true, q=[]), 0.3)
    example = tally.add(
        box_sample(
            # right, twice the same, another class, in a crowd (2), beside it,
            # and one that does not count
            [box(x) for x in (1, 0, 20, 60, 61, 80, 40)],
            [0, 0, 0, 1, 1, 1, 0],
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2],
            'p',
        )
    )
    #                           a  b  nothing
    expected = [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    assert tally.confusion.tolist() == expected
    assert example.text == '1 correct, 3 false, 1 missed'
    # of 4 that count and 3 true ones
    assert example.score == pytest.approx(2 / 7)
    rows = tally.rows({'coco/a_precision': 0.25})
    assert rows == [
        ('25.0', '50.0', '33.3', 2, 3),
        ('–', '0.0', '0.0', 1, 1),
    ]
    assert tally.add(box_sample([], [], [], 'q')).score == 1
    ((_, picture),) = tally.draw(np.zeros((50, 100, 3), np.uint8), example)
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert {(178, 114, 0), (0, 94, 213), (0, 215, 255)} <= colours


def test_boxes_of_one_class_are_paired_first():
    boxes = torch.tensor([box(0), box(1)])
    assert match(boxes, [1, 0], torch.tensor([box(0)]), [0], [False]) == [
        (1, 0)
    ]


def test_segmentor(run_tool, small_segmentor, tmp_path):
    done = run_tool(
        TOOL, *small_segmentor, '--work-dir', tmp_path / 'work',
        '--report', tmp_path / 'report',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / 'report/report.html').read_text()
    check_alone(text)
    metrics = json.loads(next(tmp_path.glob('work/2*/2*.json')).read_text())
    # all metrics are there
    assert f'<td>mIoU</td><td>{metrics["mIoU"]:.4g}</td>' in text
    rows = cells(text, 'Classes')
    assert [row[0] for row in rows][:2] == ['ground', 'disc']
    scores = [float(row[1]) for row in rows if row[1] != '–']
    assert np.mean(scores) == pytest.approx(metrics['mIoU'], abs=0.05)
    scores = [float(row[2]) for row in rows if row[2] != '–']
    assert np.mean(scores) == pytest.approx(metrics['mAcc'], abs=0.05)
    # six pictures, each one of the worst
    assert text.count('<img') == 6 * 3 and 'Best pictures' not in text
    shares = re.findall(r'jpg: ([\d.]+)% of the pixels', text)
    assert len(shares) == 6
    assert shares == sorted(shares, key=float, reverse=True)


class Boxes:
    """A data set of a detector, of 30 classes."""

    metainfo = dict(classes=[f'class {i}' for i in range(30)])

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, i):
        true = [true_box(0, i), true_box(20, i)]
        return dict(img_path=self.paths[i], instances=true)


def test_detector(tmp_path, monkeypatch):
    paths = [str(tmp_path / f'{i:02}.png') for i in range(20)]
    for path in paths:
        cv2.imwrite(path, np.full((20, 40, 3), 200, np.uint8))
    metric = SimpleNamespace(classwise=False)
    evaluator = SimpleNamespace(metrics=[metric])
    loader = SimpleNamespace(dataset=Boxes(paths))
    loop = SimpleNamespace(dataloader=loader, evaluator=evaluator)
    runner = SimpleNamespace(test_loop=loop)
    reader = SimpleNamespace(shown=cv2.imread)
    monkeypatch.setattr(report, 'tested', lambda *_: (False, reader))
    cfg = SimpleNamespace(filename='a/fcos_b.py')
    hook = ReportHook(cfg, tmp_path, 'weights.pth')
    hook.before_test(runner)
    assert metric.classwise
    for i, path in enumerate(paths):
        # the first find nothing, the last both
        found = [box(0), box(20)][: i // 7]
        hook.after_test_iter(
            runner,
            i,
            outputs=[
                box_sample(found, [i] * len(found), [0.5] * len(found), path)
            ],
        )
    metrics = {'coco/bbox_mAP': 0.5, 'coco/class 3_precision': 0.75}
    hook.after_test_epoch(runner, metrics)
    text = (tmp_path / 'report.html').read_text()
    check_alone(text)
    assert '<h1>fcos_b</h1>' in text and 'weights.pth' in text
    assert cells(text, 'Classes')[3] == ['class 3', '75.0', '0.0', '–', '2',
                                         '0']  # fmt: skip
    assert 'the 24 classes of 30 with most' in re.sub(r'\s+', ' ', text)
    assert re.findall(r'<tr><th>(.*?)<', text)[-1] == 'nothing'
    worst = text.partition('Worst pictures')[2].partition('Best pictures')
    assert re.findall(r'<div>(\d\d)', worst[0]) == [
        f'{i:02}' for i in range(6)
    ]
    assert len(re.findall('2 correct, 0 false, 0 missed', worst[2])) == 6


def test_what_has_no_report(monkeypatch):
    monkeypatch.setattr(report, 'tested', lambda *_: (False, None))
    hook = ReportHook(SimpleNamespace(), 'out', '')

    def runner(dataset):
        loader = SimpleNamespace(dataset=dataset)
        return SimpleNamespace(test_loop=SimpleNamespace(dataloader=loader))

    with pytest.raises(UsageError, match='with classes'):
        hook.before_test(runner(SimpleNamespace(metainfo={})))
    dataset = Boxes(['a'])
    dataset.get_data_info = lambda i: dict(img_path='a')
    with pytest.raises(UsageError, match='with boxes'):
        hook.before_test(runner(dataset))
    monkeypatch.setattr(report, 'get_world_size', lambda: 2)
    with pytest.raises(UsageError, match='one process'):
        hook.before_test(runner(dataset))


def test_tall_picture():
    """It is not enlarged beyond what JPEG can hold."""
    tally = BoxTally(['a'], {'p': []}, 0.3)
    example = tally.add(box_sample([box(0)], [0], [0.9], 'p'))
    ((_, picture),) = tally.draw(np.zeros((2000, 20, 3), np.uint8), example)
    assert picture.shape[:2] == (2000, 20)
    assert report._embedded(picture).startswith('data:image/jpeg')


@pytest.mark.slow
def test_long_names_in_a_browser(tmp_path):
    """Names of classes and files are text, and wrap on a telephone."""
    path = str(tmp_path / '<i>&"a".png')
    cv2.imwrite(path, np.full((20, 40, 3), 200, np.uint8))
    names = ['<i>road</i> "quoted" & long, ' * 4, '<script>alert(1)</script>']
    tally = LabelTally(names, np.array([[0, 0, 0], [255, 0, 0]], np.uint8))
    hook = ReportHook(SimpleNamespace(filename='<b>x'), tmp_path, '<b>.pth')
    hook._segments, hook._tally, hook._count = True, tally, 1
    hook._reader = SimpleNamespace(shown=cv2.imread)
    labels = np.zeros((20, 40), int)
    found = Example(path, 0.5, 'text', (labels, labels))
    hook._worst, hook._best = [found], []
    hook.after_test_epoch(None)
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=390, height=800))
        page.goto((tmp_path / 'report.html').as_uri())
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
        assert page.locator('script, i, b').count() == 0
        assert 'tested on 1 picture with' in page.inner_text('body')
