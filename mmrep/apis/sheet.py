"""A sheet of samples as the model gets them, with their labels."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, List

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmrep.apis.drawing import (
    class_colours,
    class_names,
    overlay,
    shrunk,
    with_legend,
    with_title,
)
from mmrep.data.images import guard_loading
from mmrep.engine import check_data, check_png
from mmrep.errors import UsageError, one_line
from mmrep.files import replaced, write_image
from mmrep.runner.sampler import seeded

# Largest width and height of a drawn sample.
_CELL = 400
_GAP = 6


def draw_sheet(
    cfg: Config,
    out: str,
    number: int = 12,
    seed: int = 0,
    loader: str = 'train_dataloader',
) -> int:
    """Draw samples of a data loader after its pipeline.

    Args:
        cfg (Config): A config that has the loader.
        out (str): PNG file to write.
        number (int): How many samples. Defaults to 12.
        seed (int): Seed of the samples and their augmentation. Defaults to 0.
        loader (str): Defaults to 'train_dataloader'.

    Returns:
        int: Number of samples drawn.

    Raises:
        UsageError: If the data are wrong, or ``out`` is not a PNG file.
    """
    check_png('--out', out)
    check_data(cfg, loader)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        try:
            with redirect_stdout(StringIO()):  # pycocotools prints
                dataset = DATASETS.build(cfg[loader].dataset)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as e:
            raise UsageError(
                f'{loader} cannot be built: {one_line(e, kind=True)}.'
            ) from e
    guard_loading(dataset)
    if not len(dataset):
        raise UsageError(f'{loader} has no pictures.')
    order = np.random.RandomState(seed).permutation(len(dataset))[:number]
    meta = getattr(dataset, 'metainfo', {})
    count = len(meta.get('classes') or ()) or 1
    colours, names = class_colours(meta, count), class_names(meta, count)
    cells = []
    for i in order.tolist():
        with seeded(seed + i):
            sample = dataset[i]
        cells.append(_draw_sample(sample, colours, loader.startswith('train')))
    sheet = with_legend(_tile(cells), list(zip(names, colours, strict=True)))
    with replaced(out) as partial:
        write_image(partial, sheet)
    return len(cells)


def _draw_sample(
    sample: dict, colours: np.ndarray, trains: bool
) -> np.ndarray:
    inputs = sample['inputs']
    if isinstance(inputs, list):  # of test-time augmentation
        raise UsageError('a pipeline with TestTimeAug cannot be shown.')
    data = sample['data_samples']
    image = _as_bgr(inputs.numpy())
    height, width = image.shape[:2]
    scale = min(1, _CELL / max(height, width))
    small = shrunk(image, scale)
    size = small.shape[1::-1]
    title = f'{Path(data.metainfo.get("img_path", "")).name} {width}x{height}'
    if 'gt_sem_seg' in data:
        labels = data.gt_sem_seg.data[0].numpy().astype(np.int64)
        # in a test they have the size of the file
        labels = cv2.resize(
            labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST
        )
        picture = overlay(small, labels, colours, 0.5)
        return with_title(picture, title)
    if 'gt_instances' not in data:
        return with_title(small, title)
    boxes_scale = np.array([scale, scale])
    if not trains:  # boxes are in pixels of the file
        boxes_scale = boxes_scale * data.metainfo.get('scale_factor', 1)
    picture = _draw_instances(small, data.gt_instances, colours, boxes_scale)
    return with_title(picture, title)


def _as_bgr(pixels: np.ndarray) -> np.ndarray:
    """A picture (C, H, W) of any type and bands, in a form to show."""
    bands = pixels[:3] if len(pixels) >= 3 else pixels[[0, 0, 0]]
    image = bands.transpose(1, 2, 0)
    if image.dtype != np.uint8:
        image = image.astype(np.float32)
        low, high = np.quantile(image, (0.01, 0.99))
        image = (image - low) / max(high - low, 1e-6) * 255
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))


def _draw_instances(
    picture: np.ndarray,
    instances: Any,
    colours: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Boxes and masks of a sample, in the colours of their classes."""
    size = picture.shape[1], picture.shape[0]
    labels = instances.labels.tolist()
    if 'masks' in instances:
        for mask, label in zip(
            instances.masks.to_ndarray(), labels, strict=True
        ):
            mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
            paint = np.where(mask > 0, label, len(colours))
            picture = overlay(picture, paint, colours, 0.4)
    boxes = instances.bboxes
    boxes = getattr(boxes, 'tensor', boxes).numpy() * np.tile(scale, 2)
    for box, label in zip(boxes.round().astype(int), labels, strict=True):
        colour = [int(c) for c in colours[label]]
        x1, y1, x2, y2 = box.tolist()
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 1)
    return picture


def _tile(cells: List[np.ndarray]) -> np.ndarray:
    """Pictures in rows, each in a cell with the size of the largest."""
    height = max(cell.shape[0] for cell in cells) + _GAP
    width = max(cell.shape[1] for cell in cells) + _GAP
    columns = min(len(cells), int(np.ceil(np.sqrt(len(cells) * 1.3))))
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet
