"""Report all checks of a run, and what the data sets hold."""

import contextlib
import hashlib
import io
import os.path as osp
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
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

import cv2
import numpy as np
import pycocotools.mask
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import nn

from mmrep.data.datasets import LOADERS
from mmrep.data.heads import check_dataset, check_input, check_model, heads
from mmrep.data.images import built_datasets, built_transforms, lacks_end
from mmrep.data.samples import check_samples
from mmrep.deploy import build_model
from mmrep.engine import check_data
from mmrep.engine.checks import check_config
from mmrep.errors import UsageError, counted, listed, one_line

_PACKAGE = osp.dirname(osp.dirname(__file__))
# Share of a picture's area: a larger box is probably a mistake.
_WHOLE = 0.95
# Two boxes of a class with a larger IoU are probably the same object.
_TWICE = 0.9
_THIN = 20  # times longer than wide
# Pictures that look the same may differ in this many of 256 bits: up to 22
# after scaling by 0.3 or JPEG at 50; other pictures of one microscope differ
# in at least 77.
_ALIKE = 20
# Pairs of loaders that must not share pictures.
# Suffixes of pictures that every loading transform reads.
_COMMON = ('.bmp', '.jpeg', '.jpg', '.png')
_PAIRS = (
    ('train_dataloader', 'val_dataloader'),
    ('train_dataloader', 'test_dataloader'),
    ('val_dataloader', 'test_dataloader'),
)


@dataclass
class DataReport:
    """Findings about data sets.

    Args:
        errors (list[str]): What would end a run.
        notes (list[str]): What looks wrong.
        lines (list[str]): What the data sets hold, a table for each loader.
    """

    errors: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    lines: List[str] = field(default_factory=list)

    def attempt(self, check: Callable[[], Any]) -> Any:
        """Call a check; keep its error or warnings."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter('always', UserWarning)
            try:
                result = check()
            except UsageError as error:
                if str(error) not in self.errors:
                    self.errors.append(str(error))
                result = None
        self.notes += [
            str(w.message) for w in found if w.filename.startswith(_PACKAGE)
        ]
        return result


def report_data(cfg: Config) -> DataReport:
    """Check the data sets of a config, and report what they hold.

    Args:
        cfg (Config): A config for training.
    """
    report = DataReport()
    loaders = [key for key in LOADERS if cfg.get(key)]
    for mode in ('train', 'test'):
        if f'{mode}_dataloader' in loaders:
            report.notes += (
                report.attempt(lambda m=mode: check_config(cfg, m)) or []
            )
    for key in loaders:
        report.attempt(lambda k=key: check_data(cfg, k))
    model = report.attempt(lambda: _build('model', lambda: build_model(cfg)))
    if model is not None and any(heads(model)):
        report.attempt(lambda: check_model(model))
    files: Dict[str, List[str]] = {}
    for key in loaders:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            dataset = report.attempt(
                lambda k=key: _build(k, lambda: DATASETS.build(cfg[k].dataset))
            )
        if dataset is None:
            continue
        if model is not None and any(heads(model)):
            _check_segmentation(report, cfg, key, model, dataset)
        else:
            report.attempt(
                lambda k=key, d=dataset: _build(
                    f'the first sample of {k}', lambda: d[0]
                )
            )
        infos = [
            part.get_data_info(i)
            for part in built_datasets(dataset)
            if hasattr(part, 'get_data_info')
            for i in range(len(part))
        ]
        files[key] = [i['img_path'] for i in infos if i.get('img_path')]
        if cfg[key].dataset == (cfg.get('val_dataloader') or {}).get(
            'dataset'
        ) and key.startswith('test'):
            report.lines.append(f'{key}: that of val_dataloader')
            continue
        names = tuple(getattr(dataset, 'metainfo', {}).get('classes') or ())
        if infos and 'instances' in infos[0]:
            _describe_boxes(report, key, infos, names, dataset)
        elif infos and infos[0].get('seg_map_path'):
            _describe_label_maps(report, key, infos, names, dataset)
    _find_copies(report, files)
    return report


def _build(key: str, build: Callable[[], Any]) -> Any:
    """Build a part, with a one-line error."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            return build()
    except UsageError:
        raise
    except Exception as error:  # registries raise what the classes raise
        raise UsageError(
            f'{key} cannot be built: {one_line(error, kind=True)}.'
        ) from error


def _check_segmentation(
    report: DataReport, cfg: Config, key: str, model: nn.Module, dataset: Any
) -> None:
    configs = cfg.get(key.replace('_dataloader', '_evaluator')) or []
    configs = [configs] if isinstance(configs, dict) else configs
    if key.startswith('train'):
        configs = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        metrics = [METRICS.build(metric) for metric in configs]
    report.attempt(lambda: check_dataset(key, model, dataset, metrics))
    report.notes += (
        report.attempt(lambda: check_samples(key, model, dataset, metrics))
        or []
    )
    report.attempt(
        lambda: check_input(
            key,
            model,
            _build(f'the first sample of {key}', lambda: dataset[0]),
        )
    )


def _progress(items: Sequence, text: str) -> Iterator:
    yield from track(items, text, console=Console(stderr=True))


def _sizes(values: Sequence[Tuple[int, int]]) -> str:
    if not values:
        return 'no size known'
    low, high = np.min(values, 0), np.max(values, 0)
    if (low == high).all():
        return f'{low[0]}x{low[1]}'
    return f'{low[0]}x{low[1]} to {high[0]}x{high[1]}'


def _describe_boxes(
    report: DataReport,
    key: str,
    infos: Sequence[dict],
    names: Sequence[str],
    dataset: Any,
) -> None:
    widths = defaultdict(list)  # for each class, the square roots of the areas
    pictures = defaultdict(set)
    odd = defaultdict(list)
    ignored = 0
    for info in infos:
        found = [i for i in info['instances'] if not i['ignore_flag']]
        ignored += len(info['instances']) - len(found)
        boxes = np.array([i['bbox'] for i in found], float).reshape(-1, 4)
        labels = np.array([i['bbox_label'] for i in found], int)
        sides = boxes[:, 2:] - boxes[:, :2]
        where = osp.basename(info['img_path'])
        for label, (w, h) in zip(labels.tolist(), sides, strict=True):
            widths[label].append(float(np.sqrt(w * h)))
            pictures[label].add(where)
            if w * h > _WHOLE * info['width'] * info['height']:
                odd['boxes that cover the whole picture'].append(where)
            if max(w, h) > _THIN * max(min(w, h), 1e-6):
                odd[f'boxes {_THIN} times longer than wide'].append(where)
            if min(w, h) < 4:
                odd['boxes less than 4 pixels wide or high'].append(where)
        if len(boxes) > 1:
            spans = np.hstack([boxes[:, :2], sides])
            overlap = pycocotools.mask.iou(spans, spans, [0] * len(spans))
            overlap = np.triu(overlap, 1)
            same = labels[:, None] == labels[None]
            twice = int(((overlap > _TWICE) & same).sum())
            odd['objects that may be listed twice'] += [where] * twice
    empty = sum(not info['instances'] for info in infos)
    sizes = [(info['width'], info['height']) for info in infos]
    left = _left_out(dataset)
    report.lines += [
        f'{key}: {counted(len(infos), "picture")} of {_sizes(sizes)}, '
        f'{empty} without an object, {left} skipped by filter_cfg'
    ]
    rows = []
    for label, name in enumerate(names):
        spread = '-'
        if widths[label]:
            values = np.quantile(widths[label], (0.1, 0.5, 0.9))
            spread = ' '.join(f'{v:.0f}' for v in values)
        rows.append((name, len(widths[label]), len(pictures[label]), spread))
    head = ('class', 'objects', 'pictures', 'pixels wide: 10 %, half, 90 %')
    report.lines += _table(head, rows)
    absent = [n for n, count, *_ in rows if not count]
    _note_absent(report, key, absent, 'object')
    if ignored:
        report.notes.append(
            f'{key}: {counted(ignored, "object")} marked as crowd or '
            'difficult, not used for training or scores'
        )
    for what, places in odd.items():
        if places:
            report.notes.append(
                f'{key}: {what}: {len(places)}, e.g. in {places[0]}'
            )


def _left_out(dataset: Any) -> int:
    """Pictures of the annotation files that ``filter_cfg`` removes."""
    total = 0
    for part in built_datasets(dataset):
        if getattr(part, 'filter_cfg', None) and not part.test_mode:
            with contextlib.redirect_stdout(io.StringIO()):
                total += len(part.load_data_list()) - len(part)
    return total


def _describe_label_maps(
    report: DataReport,
    key: str,
    infos: Sequence[dict],
    names: Sequence[str],
    dataset: Any,
) -> None:
    loaders = [
        t
        for t in built_transforms(next(built_datasets(dataset)))
        if type(t).__name__ == 'LoadAnnotations'
    ]
    if not loaders:
        return
    counts = np.zeros(256, np.int64)
    pictures = np.zeros(256, np.int64)
    sizes, alone, ignored = [], [], []
    for info in _progress(infos, f'Reading {key}'):
        try:
            with Image.open(info['seg_map_path']) as image:
                sizes.append(image.size)
            labels = loaders[0](dict(info, seg_fields=[]))['gt_seg_map']
        except Exception:  # reported by the checks above
            continue
        found = np.bincount(labels.ravel(), minlength=256)[:256]
        counts += found
        pictures += found > 0
        where = osp.basename(info['seg_map_path'])
        if np.count_nonzero(found[:255]) == 1:
            alone.append(where)
        if found[255] > 0.5 * labels.size:
            ignored.append(where)
    total = max(int(counts.sum()), 1)
    report.lines.append(
        f'{key}: {counted(len(infos), "picture")} of {_sizes(sizes)}, '
        f'{counts[255] / total:.1%} of the pixels are ignored'
    )
    rows = [
        (
            name,
            int(counts[i]),
            f'{counts[i] / total:.2%}',
            int(pictures[i]),
        )
        for i, name in enumerate(names)
    ]
    report.lines += _table(('class', 'pixels', 'share', 'pictures'), rows)
    if not key.startswith('train'):  # reported by check_samples
        absent = [name for name, count, *_ in rows if not count]
        _note_absent(report, key, absent, 'pixel')
    for what, places in (
        ('label maps with one label only', alone),
        (
            'label maps that are ignored for more than half of their pixels',
            ignored,
        ),
    ):
        if places:
            report.notes.append(
                f'{key}: {what}: {len(places)}, e.g. {places[0]}'
            )


def _note_absent(
    report: DataReport, key: str, absent: Sequence[str], what: str
) -> None:
    if absent:
        use = 'learned' if key.startswith('train') else 'measured'
        report.notes.append(
            f'{key}: no {what} of {", ".join(absent)}; not {use}'
        )


def _table(head: Sequence[str], rows: Sequence[Sequence]) -> List[str]:
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        '  '
        + '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _find_copies(report: DataReport, files: Dict[str, List[str]]) -> None:
    """Find pictures with the same bytes or, across splits, the same look."""
    places: Dict[str, Dict[str, set]] = defaultdict(lambda: defaultdict(set))
    paths = sorted({p for part in files.values() for p in part})
    digests, looks = {}, {}
    unreadable = []
    for path in _progress(paths, 'Comparing pictures'):
        try:
            with open(path, 'rb') as file:
                content = file.read()
        except OSError:  # reported above
            continue
        image = _decode(content)
        broken = image is None and path.lower().endswith(_COMMON)
        if broken or lacks_end(content):  # OpenCV fills the rest with grey
            unreadable.append(path)
            continue
        digests[path] = hashlib.sha1(content).hexdigest()
        look = None if image is None else _look(image)
        if look is not None:
            looks[path] = look
    if unreadable:
        # of these, other checks have found the first
        report.errors = [
            error
            for error in report.errors
            if not any(path in error for path in unreadable)
        ]
        report.errors.append(
            f'{counted(len(unreadable), "picture")} cannot be read or '
            f'{"lacks" if len(unreadable) == 1 else "lack"} the end of the '
            f'file: {listed(unreadable)}; replace or remove them.'
        )
    for key, part in files.items():
        for path in part:
            if path in digests:
                places[digests[path]][key].add(path)
    for first, second in _PAIRS:
        if set(files.get(first, ())) == set(files.get(second, ())):
            continue  # a test on val
        both = [p for p in places.values() if p.get(first) and p.get(second)]
        if both:
            example = min(both[0][first]), min(both[0][second])
            report.notes.append(
                f'{first} and {second} share pictures ({len(both)}), '
                f'which makes scores too good, e.g. {example[0]} and '
                f'{example[1]}'
            )
        alike = [
            (a, b)
            for a, b in _alike(looks, files.get(first), files.get(second))
            if digests[a] != digests[b]
        ]
        if alike:
            report.notes.append(
                f'{first} and {second} have pictures that look the same '
                f'({len(alike)}), such as resized copies or neighbouring '
                'frames of a video, which makes scores too good, e.g. '
                f'{alike[0][0]} and {alike[0][1]}'
            )
    for key in files:
        twice = [p[key] for p in places.values() if len(p.get(key, ())) > 1]
        if twice:
            report.notes.append(
                f'{key}: pictures that are there more than once: '
                f'{len(twice)}, e.g. ' + ' and '.join(sorted(twice[0])[:2])
            )


def _decode(content: bytes) -> Optional[np.ndarray]:
    """A grey picture, small if it can be; None if OpenCV cannot read it."""
    data = np.frombuffer(content, np.uint8)
    for flag in (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_GRAYSCALE):
        try:
            image = cv2.imdecode(data, flag)
        except cv2.error:  # no data, or too many pixels
            return None
        if image is None or min(image.shape) >= 34:  # two for each number
            break
    return image


def _look(image: np.ndarray) -> Optional[np.ndarray]:
    """A fingerprint of a picture: where it gets brighter to the right.

    Returns:
        np.ndarray | None: 256 numbers, 1 or -1, which scaling and compressing
        hardly change; None for a picture with a single grey.
    """
    small = cv2.resize(image, (17, 16), interpolation=cv2.INTER_AREA)
    if np.ptp(small) < 8:
        return None
    brighter = small[:, 1:] > small[:, :-1]
    return np.where(brighter, 1, -1).ravel().astype(np.int8)


def _alike(
    looks: Dict[str, np.ndarray],
    first: Optional[List[str]],
    second: Optional[List[str]],
) -> Iterator[Tuple[str, str]]:
    """Pictures of one list, each with the first similar one of the other."""
    first, second = (
        sorted(looks.keys() & set(paths or ())) for paths in (first, second)
    )
    if not first or not second:
        return
    others = np.stack([looks[path] for path in second]).astype(np.float32)
    for start in range(0, len(first), 1024):
        part = first[start : start + 1024]
        some = np.stack([looks[path] for path in part]).astype(np.float32)
        differing = (256 - some @ others.T) / 2
        for i, j in enumerate(differing.argmin(1)):
            if differing[i, j] <= _ALIKE:
                yield part[i], second[j]
