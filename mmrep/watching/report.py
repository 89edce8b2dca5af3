"""A page that shows where a model is wrong, written after a test."""

import base64
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import cv2
import jinja2
import numpy as np
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmrep.apis.drawing import class_colours, class_names, css, shrunk
from mmrep.apis.show import tested
from mmrep.data.images import built_datasets
from mmrep.errors import UsageError, counted
from mmrep.files import write_text
from mmrep.version import __version__
from mmrep.watching.tally import (
    CORRECT,
    FALSE,
    IOU_THR,
    MISSED,
    BoxTally,
    Example,
    LabelTally,
)

# Number of best and of worst pictures to show.
_SHOWN = 6
# A confusion matrix with more classes shows those with the most errors.
_MATRIX = 25
# Largest width and height of the pictures.
_SIZE = 800


class ReportHook(Hook):
    """Write ``report.html`` after a test: scores, confusions, pictures.

    The page is a single file that needs nothing else.

    Args:
        cfg (Config): Config of the test, whose pipeline reads the images.
        out_dir (str): Where the page goes.
        checkpoint (str): The tested checkpoint, which the page names.
        score_thr (float): Minimum score of a detector's boxes in the confusion
            matrix and the pictures. Defaults to 0.3.
    """

    def __init__(
        self,
        cfg: Config,
        out_dir: str,
        checkpoint: str,
        score_thr: float = 0.3,
    ) -> None:
        self.cfg = cfg
        self.path = Path(out_dir, 'report.html')
        self.checkpoint = checkpoint
        self.score_thr = score_thr

    def before_test(self, runner: Runner) -> None:
        """Prepare to count.

        Raises:
            UsageError: If the test has several processes, or the model is not
                a segmentor or detector.
        """
        if get_world_size() > 1:
            raise UsageError('--report needs a test that runs in one process.')
        self._segments, self._reader = tested(self.cfg, runner)
        dataset = runner.test_loop.dataloader.dataset
        meta = dict(dataset.metainfo)
        classes = meta.get('classes') or ()
        if not classes:
            raise UsageError('--report needs a data set with classes.')
        names = class_names(meta, len(classes))
        self._tally: Union[LabelTally, BoxTally]
        if self._segments:
            self._tally = LabelTally(names, class_colours(meta, len(names)))
        else:
            instances = _instances(dataset)
            self._tally = BoxTally(names, instances, self.score_thr)
            for metric in runner.test_loop.evaluator.metrics:
                if hasattr(metric, 'classwise'):
                    metric.classwise = True
        self._count = 0
        self._worst: List[Example] = []
        self._best: List[Example] = []

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Sequence[BaseDataElement]] = None,
    ) -> None:
        """Count a batch."""
        for sample in outputs or ():
            example = self._tally.add(sample)
            self._count += 1
            self._worst = _first([*self._worst, example], 1)
            self._best = _first([*self._best, example], -1)

    def after_test_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Write the page."""
        metrics = metrics or {}
        tally, worst = self._tally, self._worst
        shown = {example.path for example in worst}
        best = [e for e in self._best if e.path not in shown]
        sections = [('Worst pictures', worst), ('Best pictures', best)]
        template = Path(__file__).with_name('report.html').read_text('utf-8')
        page = jinja2.Environment(autoescape=True).from_string(template)
        text = page.render(
            name=Path(self.cfg.filename or 'test').stem,
            checkpoint=self.checkpoint,
            version=__version__,
            count=counted(self._count, 'picture'),
            metrics=[
                (name, f'{value:.4g}')
                for name, value in metrics.items()
                # MMSegmentation's are NumPy's
                if isinstance(value, (int, float, np.number))
                and not name.endswith(('time', '_precision'))
            ],
            segments=self._segments,
            unit=tally.unit,
            score_thr=self.score_thr,
            iou_thr=IOU_THR,
            header=tally.header,
            classes=[
                (name, css(colour), row)
                for name, colour, row in zip(
                    tally.classes,
                    tally.palette,
                    tally.rows(metrics),
                    strict=False,
                )
            ],
            confusions=_confusions(tally),
            matrix=_matrix(tally),
            marks=[
                ('correct', css(CORRECT)),
                ('false', css(FALSE)),
                ('missed', css(MISSED)),
            ],
            sections=[
                (title, [self._show(example) for example in examples])
                for title, examples in sections
            ],
        )
        write_text(self.path, text)

    def _show(self, example: Example) -> Dict[str, Any]:
        image = self._reader.shown(example.path)
        return dict(
            name=Path(example.path).name,
            text=example.text,
            pictures=[
                (title, _embedded(picture))
                for title, picture in self._tally.draw(image, example)
            ],
        )


def _first(examples: List[Example], sign: int) -> List[Example]:
    return sorted(examples, key=lambda e: sign * e.score)[:_SHOWN]


def _instances(dataset: Any) -> Dict[str, List[dict]]:
    """The true boxes of each picture, in its own pixels.

    Raises:
        UsageError: If the data set has none.
    """
    found = {}
    for part in built_datasets(dataset):
        for i in range(len(part)):
            info = part.get_data_info(i)
            if 'instances' not in info:
                raise UsageError('--report needs a test set with boxes.')
            found[info['img_path']] = info['instances']
    return found


def _embedded(picture: np.ndarray) -> str:
    """A picture as a data URL."""
    picture = shrunk(picture, _SIZE / max(picture.shape[:2]))
    params = (cv2.IMWRITE_JPEG_QUALITY, 85)
    _, content = cv2.imencode('.jpg', picture, params)
    text = base64.b64encode(content.tobytes()).decode()
    return f'data:image/jpeg;base64,{text}'


def _confusions(tally: Union[LabelTally, BoxTally]) -> List[tuple]:
    """The largest errors: true class, predicted class, number, share."""
    wrong = tally.confusion.copy()
    np.fill_diagonal(wrong, 0)
    true = tally.confusion.sum(1)
    rows = []
    for place in np.argsort(-wrong, axis=None)[:10]:
        i, j = np.unravel_index(place, wrong.shape)
        if wrong[i, j]:
            names = tally.classes[i], tally.classes[j]
            share = f'{100 * wrong[i, j] / true[i]:.1f}'
            rows.append((*names, int(wrong[i, j]), share))
    return rows


def _matrix(tally: Union[LabelTally, BoxTally]) -> Dict[str, Any]:
    """Shares of each true class in percent, by predicted class."""
    confusion, classes = tally.confusion, len(tally.palette)
    wrong = confusion.sum(0) + confusion.sum(1) - 2 * confusion.diagonal()
    # a detector's last row and column, which the page explains
    wrong[classes:] = wrong.sum() + 1
    shown = np.sort(np.argsort(-wrong, kind='stable')[:_MATRIX])
    total = confusion.sum(1, keepdims=True)
    shares = confusion / np.maximum(total, 1)
    return dict(
        names=[tally.classes[i] for i in shown],
        shown=int(np.sum(shown < classes)),
        total=classes,
        rows=[
            (
                tally.classes[i],
                [(shares[i, j], int(confusion[i, j])) for j in shown],
            )
            for i in shown
        ],
    )
